"""Nearly equal images are told from images of one scene or with one background."""

import numpy as np
from PIL import Image

from evonas.data.near_duplicates import SIDE, mean_thumbnail, near_duplicates, thumbnail


def blocks(number: int) -> np.ndarray:
    random = np.random.default_rng(number)
    return np.kron(random.integers(0, 255, (9, 12, 3)), np.ones((10, 10, 1))).astype(np.uint8)


def test_crops_brightness_and_compression_do_not_hide_a_copy() -> None:
    first = np.array([thumbnail(blocks(number)) for number in range(20)])
    image = Image.fromarray(blocks(7))
    copies = [
        image.crop((1, 1, 119, 89)).resize((120, 90)),
        image.point(lambda value: int(0.7 * value)),
        image.resize((60, 45)),
        # both were missed while brightness counted
        image.point(lambda value: int(0.3 * value)),
        image.point(lambda value: 100 + int(0.3 * value)),
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]
    second = np.array([thumbnail(np.asarray(each)) for each in copies] + [thumbnail(blocks(99))])
    pairs = near_duplicates(first, second, mean_thumbnail(first), 0.95)
    assert {(pair.first, pair.second) for pair in pairs} == {(7, place) for place in range(6)}
    assert pairs == sorted(pairs, key=lambda pair: -pair.similarity)


def test_a_common_background_makes_no_copies() -> None:
    background = blocks(0).astype(int)

    places: dict[int, tuple[int, int]] = {}

    def part(number: int) -> np.ndarray:
        random = np.random.default_rng(number)
        shown = background.copy()
        top, left = places[number] = int(random.integers(0, 60)), int(random.integers(0, 90))
        shown[top : top + 20, left : left + 20] = random.integers(0, 255, 3)
        return shown.astype(np.uint8)

    first = np.array([thumbnail(part(number)) for number in range(1, 30)])
    second = np.array([thumbnail(part(number)) for number in range(100, 110)])
    together = np.concatenate([first, second])
    assert len(near_duplicates(first, second, np.zeros(SIDE * SIDE, np.float32), 0.95)) > 5
    found = near_duplicates(first, second, mean_thumbnail(together), 0.95)
    # those that show nearly the same thing at nearly the same place are nearly equal
    assert len(found) <= 1
    for pair in found:
        one, other = places[pair.first + 1], places[pair.second + 100]
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 5


def test_plain_images_equal_none_and_empty_splits_have_none() -> None:
    plain = np.array([thumbnail(np.full((40, 60, 3), value, np.uint8)) for value in (0, 0, 128)])
    assert near_duplicates(plain, plain, mean_thumbnail(plain), 0.95) == []
    assert near_duplicates(plain[:0], plain, mean_thumbnail(plain), 0.95) == []
