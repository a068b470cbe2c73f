"""The size at which a network reads an image, from a resolution that is a gene. Torch-free."""

from evonas.supernets.step import Size

# sides of images that are a part of what is given are multiples of `_MULTIPLE` and at least `_LEAST`
_MULTIPLE, _LEAST = 8, 32


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
