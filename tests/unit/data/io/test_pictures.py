"""Photographs of every kind are shown as people see them, and numbers are those of the file, or the file is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from image_files import encoded, exif, png
from PIL import Image

from evonas.data.io.pictures import open_colours, open_numbers, open_picture, orientation_note, picture_size
from evonas.data.io.safe import Encoded
from evonas.errors import DataError

WHITE = [255, 255, 255]
# rows and columns of an image of 2x3 pixels that each EXIF orientation shows
TURNED: dict[int, list[list[int]]] = {
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


def shown(file: Encoded) -> list[Any]:
    image = open_picture(file)
    assert image.mode == "RGB"
    pixels: list[Any] = np.asarray(image).tolist()
    return pixels


def test_sixteen_bits_are_scaled_and_never_clipped() -> None:
    values = np.array([[0, 255, 256, 1000], [32768, 50000, 65279, 65535]])
    wanted = np.repeat((values // 256)[..., None], 3, axis=2)
    np.testing.assert_array_equal(shown(png(16, values)), wanted)
    np.testing.assert_array_equal(shown(encoded(Image.fromarray(values.astype(np.uint16)))), wanted)
    colours = np.stack([values, values[:, ::-1], values // 2], axis=-1)
    np.testing.assert_array_equal(shown(png(16, colours)), colours // 256)


@pytest.mark.parametrize(("bits", "white"), [(1, 1), (2, 3), (4, 15), (8, 255)])
def test_grey_of_few_bits_reaches_from_black_to_white(bits: int, white: int) -> None:
    assert shown(png(bits, [[0, white]])) == [[[0, 0, 0], WHITE]]


def palette(alphas: bytes | None, **options: Any) -> Encoded:
    image = Image.new("P", (3, 1))
    image.putpalette([200, 30, 90, 10, 20, 30, 40, 50, 60])
    image.putdata([0, 1, 2])
    return encoded(image, **options, **({} if alphas is None else {"transparency": alphas}))


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (png(8, [[[200, 30, 90, 0], [200, 30, 90, 255]]]), [WHITE, [200, 30, 90]]),
        (png(8, [[[200, 0], [200, 255]]]), [WHITE, [200, 200, 200]]),
        (png(8, [[[0, 0, 0, 51]]]), [[204, 204, 204]]),
        (png(16, [[[51200, 7680, 23040, 0], [51200, 7680, 23040, 65535]]]), [WHITE, [200, 30, 90]]),
        (png(16, [[[51200, 0], [51200, 65535]]]), [WHITE, [200, 200, 200]]),
        (png(1, [[0, 1]], transparent=(0,)), [WHITE, WHITE]),
        (png(2, [[0, 1, 2]], transparent=(1,)), [[0, 0, 0], WHITE, [170, 170, 170]]),
        (png(4, [[0, 1, 2]], transparent=(1,)), [[0, 0, 0], WHITE, [34, 34, 34]]),
        (png(8, [[7, 8]], transparent=(7,)), [WHITE, [8, 8, 8]]),
        (png(8, [[[9, 8, 7], [9, 8, 6]]], transparent=(9, 8, 7)), [WHITE, [9, 8, 6]]),
        # the neighbours of a transparent colour of 16 bits are not transparent
        (png(16, [[1000, 1001]], transparent=(1000,)), [WHITE, [3, 3, 3]]),
        (palette(bytes([0, 255, 51])), [WHITE, [10, 20, 30], [212, 214, 216]]),
        (palette(None), [[200, 30, 90], [10, 20, 30], [40, 50, 60]]),
        (palette(None, bits=2), [[200, 30, 90], [10, 20, 30], [40, 50, 60]]),
    ],
)
def test_transparent_pixels_lie_on_white(file: Encoded, wanted: list[list[int]]) -> None:
    assert shown(file) == [wanted]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_every_mode_are_shown(mode: str) -> None:
    # no cyan, full magenta and yellow is red
    colour = {"L": (90,), "RGB": (200, 30, 90), "CMYK": (0, 255, 255, 0)}[mode]
    file = encoded(Image.new(mode, (8, 8), colour), "JPEG", quality=95)
    wanted = {"L": [90, 90, 90], "RGB": [200, 30, 90], "CMYK": [254, 0, 0]}[mode]
    assert np.abs(np.array(shown(file))[4, 4] - wanted).max() <= 3


def test_the_first_image_of_a_jpeg_with_several_is_shown() -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    file = encoded(first, "MPO", save_all=True, append_images=[second])
    red, _, blue = shown(file)[0][0]
    assert red > 250 and blue < 5


def test_animations_are_refused() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (0, 1, 2)]
    file = encoded(frames[0], save_all=True, append_images=frames[1:])
    for read in (open_picture, open_numbers, open_colours):
        with pytest.raises(DataError, match=r"a\.png is an animation of 3 images"):
            read(file)


def test_a_transparent_colour_that_pillow_cannot_tell_is_refused() -> None:
    with pytest.raises(DataError, match="transparent colour of 16 bits"):
        open_picture(png(16, [[[1000, 2000, 3000]]], transparent=(1000, 2000, 3000)))


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_turns_pictures_and_numbers_alike(orientation: int) -> None:
    stored = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    file = encoded(stored, exif=exif(orientation))
    wanted = np.array(TURNED[orientation])
    np.testing.assert_array_equal(np.array(shown(file))[..., 0], wanted)
    np.testing.assert_array_equal(open_numbers(file), wanted)
    np.testing.assert_array_equal(open_colours(file)[..., 1], wanted)
    assert picture_size(file) == wanted.shape
    assert (f"EXIF orientation {orientation}" in orientation_note(file)) == (orientation > 1)
    # as photographs are stored
    block = np.kron(np.arange(6).reshape(2, 3), np.ones((16, 16))).astype(np.uint8) * 40
    photograph = encoded(Image.fromarray(block), "JPEG", quality=95, exif=exif(orientation))
    centres = np.array(shown(photograph))[8::16, 8::16, 0]
    assert np.abs(centres - 40 * wanted).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "sides", "shape"),
    [
        (6, (3, 2), (3, 2)),
        (6, (2, 3), (2, 3)),
        (8, (600, 900), (2, 3)),
        (8, (900, 601), (3, 2)),
        (6, (5, 5), (3, 2)),
        (3, (2, 3), (2, 3)),
        (1, (3, 2), (2, 3)),
    ],
)
def test_stated_sides_decide_whether_a_lying_picture_is_turned(
    orientation: int, sides: tuple[int, int], shape: tuple[int, int]
) -> None:
    file = encoded(Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)), exif=exif(orientation))
    image = open_picture(file, sides=sides)
    assert (image.height, image.width) == shape
    # a half turn keeps the shape, so that sides cannot speak against it
    assert (np.asarray(image)[0, 0, 0] == 5) == (orientation == 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("content", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_damaged_exif_leaves_the_picture_as_it_is(content: bytes) -> None:
    file = encoded(Image.new("RGB", (8, 4), "red"), "JPEG", exif=content)
    assert picture_size(file) == (4, 8) and orientation_note(file) == ""
    assert open_picture(file).size == (8, 4)
    assert picture_size(encoded(Image.new("L", (8, 4)), "JPEG", exif=exif(9))) == (4, 8)


@pytest.mark.parametrize(("bits", "kind"), [(1, "u1"), (2, "u1"), (4, "u1"), (8, "u1"), (16, "u2")])
def test_numbers_of_every_depth_are_those_of_the_file(bits: int, kind: str) -> None:
    values = np.arange(2 ** min(bits, 8)).reshape(2, -1) * (257 if bits == 16 else 1)
    found = open_numbers(png(bits, values))
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_numbers_of_a_palette_are_its_indices(bits: int) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.putdata([1, 0])
    assert open_numbers(encoded(image, bits=bits, transparency=0)).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    "samples", [[[[3, 3, 3], [5, 5, 5]]], [[[3, 255], [5, 255]]], [[[3, 3, 3, 255], [5, 5, 5, 255]]]]
)
def test_equal_channels_count_as_one(samples: Any) -> None:
    assert open_numbers(png(8, samples)).tolist() == [[3, 5]]


@pytest.mark.parametrize(
    ("read", "file", "words"),
    [
        (open_numbers, encoded(Image.new("L", (8, 8)), "JPEG"), "is a JPEG, .*masks must be PNG"),
        (open_colours, encoded(Image.new("RGB", (8, 8)), "JPEG"), "is a JPEG, .*masks must be PNG"),
        (open_numbers, png(8, [[[1, 2, 3]]]), "contains colours"),
        (open_numbers, png(8, [[[1, 254]]]), r"transparent pixels \(100\.0%\)"),
        (open_colours, png(8, [[[1, 2, 3, 0], [1, 2, 3, 255]]]), r"transparent pixels \(50\.0%\)"),
        (open_colours, palette(bytes([255, 0, 255])), r"transparent pixels \(33\.3%\)"),
        (open_numbers, png(16, [[[1, 1, 1]]]), "several channels of 16 bits"),
        (open_colours, png(16, [[[1, 1, 1]]]), "has 16 bits for each channel"),
        (open_colours, png(16, [[1]]), "has 16 bits for each channel"),
    ],
)
def test_truth_that_is_not_exact_is_refused_by_its_reason(
    read: Callable[[Encoded], Any], file: Encoded, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read(file)


def test_painted_colours_are_exact() -> None:
    assert open_colours(png(8, [[[1, 2, 3], [4, 5, 6]]])).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert open_colours(palette(None)).tolist() == [[[200, 30, 90], [10, 20, 30], [40, 50, 60]]]
    assert open_colours(png(1, [[0, 1]])).tolist() == [[[0, 0, 0], WHITE]]
    assert open_colours(palette(bytes([255, 255, 255])))[0, 0].tolist() == [200, 30, 90]
