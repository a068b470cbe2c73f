"""What image files show: photographs as upright RGB of 8 bits, and masks and depth maps as the numbers in the file.

Every task opens its images here. A photograph is turned as its EXIF orientation says, 16 bits become 8 by their upper
byte, and transparent pixels are laid on white (`BACKGROUND`), so that colours hidden under transparency never appear.
Ground truth is read as raw numbers of any depth and refused from lossy files. What cannot be read exactly is refused.

Legend: H W space.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.io.safe import (
    MAX_PIXELS,
    Encoded,
    StoredImage,
    is_file,
    open_image,
    open_tiff,
    read_array,
    stored_kind,
    stored_size,
)
from evonas.errors import DataError

# suffixes of PNG and JPEG files, in lower case
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
# the same for a name without suffix, also in capitals
ENDINGS = tuple(form for suffix in SUFFIXES for form in (suffix, suffix.upper()))
BACKGROUND = (255, 255, 255)
# Pillow maps 1 of 2 bits to 85 and 1 of 4 bits to 17
_STRETCHED = {2: 85, 4: 17}
# what makes an image of an EXIF orientation upright; Pillow's own `exif_transpose` also writes EXIF anew, which fails
# for the damaged EXIF of some cameras
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# orientations that exchange height and width
_LYING = (5, 6, 7, 8)
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")

Size = tuple[int, int]
Numbers = NDArray[np.uint8] | NDArray[np.uint16]


def open_picture(
    path: Path | Encoded, max_pixels: int = MAX_PIXELS, sides: tuple[float, float] | None = None
) -> Image.Image:
    """A photograph as upright RGB of 8 bits.

    Args:
        path: the file, or its content.
        max_pixels: larger images are refused.
        sides: height and width that annotations or cameras state, in any scale. If only the stored pixels have this
            shape, annotations refer to these, and the image is not turned.

    Raises:
        DataError: `open_image` refuses the file, it is an animation, or it has a transparent colour of 16 bits.
    """
    stored = open_image(path, max_pixels)
    _check_still(stored, path)
    image = _coloured(stored, path)
    if _is_turned((image.height, image.width), stored.orientation, sides):
        return _turned(image, stored.orientation)
    return image


def picture_file(stem: Path) -> Path | None:
    """The image file of a path without suffix; None if there is none."""
    paths = (stem.with_name(stem.name + ending) for ending in ENDINGS)
    return next((path for path in paths if is_file(path)), None)


def picture_size(
    path: Path | Encoded, max_pixels: int = MAX_PIXELS, sides: tuple[float, float] | None = None
) -> Size:
    """Height and width of what `open_picture` shows, from the header; raises as `open_image` but for damaged pixels."""
    height, width, orientation = stored_size(path, max_pixels)
    is_lying = orientation in _LYING and _is_turned((height, width), orientation, sides)
    return (width, height) if is_lying else (height, width)


def file_kind(path: Path) -> str:
    """What a file is by its header, for statistics: format, mode and bits; the suffix of files that are no images.

    Raises:
        DataError: as `picture_size`.
    """
    return "NumPy array" if path.suffix.lower() == ".npy" else stored_kind(path)


def is_deep(path: Path) -> bool:
    """Whether an image file has 16 bits for each channel; raises as `picture_size`."""
    return file_kind(path).endswith(" 16 bits")


def exif_orientation(path: Path, max_pixels: int = MAX_PIXELS) -> int:
    """EXIF's orientation of a photograph, 1 for upright; raises as `picture_size`."""
    return stored_size(path, max_pixels)[2]


def refuse_undecided(
    path: Path, max_pixels: int = MAX_PIXELS, sides: tuple[float, float] | None = None
) -> None:
    """Raises a DataError if nothing tells whether a camera saw a photograph as it is stored or as EXIF turns it.

    Poses, unlike boxes and masks, are often those of the stored pixels.

    Args:
        path: the photograph.
        max_pixels: larger images are refused.
        sides: height and width that the camera states, in any scale.
    """
    height, width, orientation = stored_size(path, max_pixels)
    is_told = sides is not None and orientation in _LYING and height != width
    if orientation != 1 and not is_told:
        raise DataError(
            f"{path} has EXIF orientation {orientation}, and the sides of its camera do not tell whether its pose is "
            "that of the stored or of the turned photograph.",
            "Store it as the camera saw it, without EXIF orientation.",
        )


def orientation_note(path: Path | Encoded, max_pixels: int = MAX_PIXELS) -> str:
    """Names an EXIF orientation for messages about sizes, empty for images that are stored upright.

    Other kinds of ground truth, such as arrays, have none.
    """
    if isinstance(path, Path) and path.suffix.lower() not in SUFFIXES:
        return ""
    height, width, orientation = stored_size(path, max_pixels)
    if orientation == 1:
        return ""
    return f" (stored as {height}x{width} with EXIF orientation {orientation}, by which it was turned)"


def open_numbers(path: Path | Encoded, max_pixels: int = MAX_PIXELS) -> Numbers:
    """The numbers H W of a PNG with one channel: grey values or palette indices of 1, 2, 4, 8 or 16 bits.

    Numbers of fewer than 16 bits are uint8. A file of several equal channels counts as one channel.

    Raises:
        DataError: the file is lossy or animated, has colours or transparent pixels, or `open_image` refuses it.
    """
    stored = _lossless(path, max_pixels)
    image, bits = _turned(stored.image, stored.orientation), stored.bits
    if image.mode in _SIXTEEN_BITS:
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("1", "P"):
        return np.asarray(image).astype(np.uint8)
    if image.mode == "L":
        return np.asarray(image) // np.uint8(_STRETCHED.get(bits, 1))
    if bits > 8:
        raise DataError(
            f"{path} has several channels of {bits} bits (mode {image.mode}), not one of numbers.",
            "Save it as a PNG with one channel.",
        )
    channels = np.atleast_3d(np.asarray(image))
    if image.mode in ("LA", "RGBA"):
        _check_opaque(channels[..., -1], path)
        channels = channels[..., :-1]
    if (channels != channels[..., :1]).any():
        raise DataError(
            f"{path} contains colours (mode {image.mode}), not class ids or other numbers.",
            "Save it as a PNG with one channel.",
        )
    return np.ascontiguousarray(channels[..., 0])


def open_measurements(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """The numbers H W of a depth map: a PNG of 16 bits, a TIFF of 16 bits or floats, or an .npy file.

    Raises:
        DataError: the file has at most 8 bits or several channels, or it is damaged.
    """
    kind = path.suffix.lower()
    if kind == ".npy":
        array = np.squeeze(read_array(path))
        if array.ndim != 2 or array.size > max_pixels or array.dtype.kind not in "fiu":
            raise DataError(
                f"{path} has the shape {array.shape} of {array.dtype}, not height and width of at most "
                f"{max_pixels} numbers.",
                "Save one depth map in a file.",
            )
    elif kind in (".tif", ".tiff"):
        stored = open_tiff(path, max_pixels)
        _check_still(stored, path)
        if stored.orientation != 1:
            raise DataError(
                f"{path} has the orientation {stored.orientation}.",
                "Save it upright, without an orientation.",
            )
        if stored.image.mode not in (*_SIXTEEN_BITS, "F", "L"):
            raise DataError(
                f"{path} has several channels (mode {stored.image.mode}), not one of depths.",
                "Save it as a TIFF of one channel of 16 bits or floats of 32 bits.",
            )
        array = np.asarray(stored.image)
    else:
        array = open_numbers(path, max_pixels)
    if array.dtype.itemsize < 2:
        raise DataError(
            f"{path} is not a depth map of 16 bits or more: it has at most 8 bits.",
            "Use the original files; converted copies, as for viewing, have lost their depth.",
        )
    return array


def open_colours(path: Path | Encoded, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The exact colours H W 3 of a painted mask.

    Raises:
        DataError: the file is lossy or animated, has 16 bits or transparent pixels, or `open_image` refuses it.
    """
    stored = _lossless(path, max_pixels)
    image = _turned(stored.image, stored.orientation)
    if stored.bits > 8:
        raise DataError(
            f"{path} has {stored.bits} bits for each channel; colours of masks have 8.",
            "Save it with 8 bits for each channel.",
        )
    if image.has_transparency_data:
        channels = np.asarray(_with_alpha(image, stored.bits, path))
        _check_opaque(channels[..., 3], path)
        return np.ascontiguousarray(channels[..., :3])
    return np.asarray(image.convert("RGB"))


def _lossless(path: Path | Encoded, max_pixels: int) -> StoredImage:
    stored = open_image(path, max_pixels)
    if stored.format != "PNG":
        raise DataError(
            f"{path} is a JPEG, whose compression changes numbers and colours; masks must be PNG.",
            "Export it as PNG from where it was made; a converted JPEG keeps its errors.",
        )
    _check_still(stored, path)
    return stored


def _check_still(stored: StoredImage, path: Path | Encoded) -> None:
    if stored.frames > 1:
        raise DataError(f"{path} is an animation of {stored.frames} images.", "Save one of them.")


def _check_opaque(alpha: NDArray[np.uint8], path: Path | Encoded) -> None:
    if (alpha != 255).any():
        share = float((alpha != 255).mean())
        raise DataError(
            f"{path} has transparent pixels ({share:.1%}), whose class is unknown.",
            "Save the mask without an alpha channel.",
        )


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation != 1 else image


def _is_turned(stored: Size, orientation: int, sides: tuple[float, float] | None) -> bool:
    """Whether EXIF's orientation is followed; see `open_picture`."""
    if orientation == 1:
        return False
    if sides is None or orientation not in _LYING:
        return True
    # a ratio of one is a square; both shapes are compared by their distance from that of the sides
    wanted, given = np.log(sides[0] / sides[1]), np.log(stored[0] / stored[1])
    return bool(abs(-given - wanted) <= abs(given - wanted))


def _coloured(stored: StoredImage, path: Path | Encoded) -> Image.Image:
    """RGB of 8 bits, as stored."""
    image = stored.image
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        image = _with_alpha(image, stored.bits, path)
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    if image.mode in _SIXTEEN_BITS:
        return _upper_byte(image).convert("RGB")
    return image.convert("RGB")


def _with_alpha(image: Image.Image, bits: int, path: Path | Encoded) -> Image.Image:
    """RGBA, from an alpha channel, a palette's alphas or one transparent colour."""
    colour = image.info.get("transparency")
    if image.mode in _SIXTEEN_BITS:
        grey = _upper_byte(image)
        alpha = Image.fromarray(np.where(np.asarray(image) == colour, 0, 255).astype(np.uint8))
        return Image.merge("RGBA", (grey, grey, grey, alpha))
    if image.mode == "RGB" and bits > 8:
        # Pillow has dropped the lower bytes, which tell the transparent colour from its neighbours
        raise DataError(
            f"{path} has a transparent colour of {bits} bits for each channel, which is not read.",
            "Save it with an alpha channel, or with 8 bits for each channel.",
        )
    if image.mode == "L" and bits in _STRETCHED and isinstance(colour, int):
        image = image.copy()
        image.info["transparency"] = colour * _STRETCHED[bits]
    return image.convert("RGBA")


def _upper_byte(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
