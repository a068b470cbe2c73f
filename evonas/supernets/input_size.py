"""The size at which a network reads an image, from a resolution that is a gene. Torch-free."""

from collections.abc import Sequence

from evonas.supernets.step import Size

# sides of images that are a part of what is given are multiples of `_MULTIPLE` and at least `_LEAST`
_MULTIPLE, _LEAST = 8, 32
# a side below this leaves nothing of the deepest maps
LEAST_PIXELS = 32


def are_resolutions(given: Sequence[float]) -> bool:
    """Whether numbers are parts of an image's sides in (0, 1], or all of them shorter sides in pixels."""
    is_part = all(0 < each <= 1 for each in given)
    is_pixels = all(int(each) == each and each >= LEAST_PIXELS for each in given)
    return bool(given) and (is_part or is_pixels)


def input_size(resolution: float, size: Size) -> Size:
    """The size to which an image is resized.

    Above 1 the resolution is the shorter side in pixels, and the other side keeps the ratio. Otherwise it is a part of
    both sides, in multiples of 8 pixels from 32 on; 1 leaves the image as it is.
    """
    if resolution > 1:
        shorter = min(size)
        height, width = (round(side * resolution / shorter) for side in size)
    elif resolution == 1:
        height, width = size
    else:
        height, width = (
            min(side, max(_LEAST, _MULTIPLE * round(side * resolution / _MULTIPLE))) for side in size
        )
    return height, width
