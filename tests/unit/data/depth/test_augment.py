"""The augmentation of depth: its ranges, and that image and depth move together."""

import math

import numpy as np
import pytest

from evonas.data.depth.augment import DepthAugment, rotated
from evonas.errors import UserError
from evonas.randomness import generator

STILL = {"rotation": 0.0, "flip": 0.0, "colour": 0.0}
DEPTH = np.repeat(np.repeat(np.random.default_rng(0).integers(1, 80, (6, 8)), 8, 0), 8, 1).astype(np.float32)
IMAGE = np.repeat(DEPTH[..., None], 3, 2).astype(np.uint8)
SIZE = (48, 64)


def made(step: int, size: tuple[int, int] = SIZE, **options: float) -> tuple[np.ndarray, np.ndarray]:
    return DepthAugment(**{**STILL, **options})(IMAGE, DEPTH, size, generator(0, "test", step))


def test_everything_off_changes_nothing() -> None:
    image, depth = made(0)
    np.testing.assert_array_equal(depth, DEPTH)
    np.testing.assert_allclose(image * 255, IMAGE, atol=1e-4)


def test_rotation_moves_both_and_invents_no_depth() -> None:
    """The published image is bilinear, depth is nearest: only distances that were measured, or none."""
    for step in range(10):
        image, depth = made(step, rotation=20.0)
        assert set(np.unique(depth)) <= {0.0, *np.unique(DEPTH)}
        inside = depth > 0
        assert 0.5 < inside.mean() < 1
        assert np.corrcoef(depth[inside], image[..., 0][inside])[0, 1] > 0.9


def test_a_quarter_turn_is_exact() -> None:
    square_image, square = IMAGE[:, :48], DEPTH[:, :48]
    image, depth = rotated(square_image, square, 90.0)
    np.testing.assert_array_equal(depth, np.rot90(square))
    np.testing.assert_array_equal(image, np.rot90(square_image))


def test_angles_stay_within_their_range() -> None:
    """A point far from the centre moves by its distance times the angle; 2.5 degrees bound it."""
    depth = np.zeros((101, 401), np.float32)
    depth[:, 398:] = 5.0
    image = np.zeros((101, 401, 3), np.uint8)
    slopes = []
    for step in range(60):
        _, out = DepthAugment(rotation=2.5, flip=0, colour=0)(
            image, depth, (101, 401), generator(0, "t", step)
        )
        edge = [np.flatnonzero(row)[0] for row in out if row.any()]
        slopes.append(math.degrees(math.atan2(edge[-1] - edge[0], len(edge) - 1)) if len(edge) > 40 else 0.0)
    assert max(map(abs, slopes)) < 2.5 + 1.5
    assert max(slopes) > 1 and min(slopes) < -1


def test_flips_mirror_both() -> None:
    image, depth = made(0, flip=1.0)
    np.testing.assert_array_equal(depth, DEPTH[:, ::-1])
    np.testing.assert_allclose(image * 255, IMAGE[:, ::-1], atol=1e-4)
    flipped = sum(bool((made(step, flip=0.5)[1] != DEPTH).any()) for step in range(200))
    assert 70 < flipped < 130


def test_crops_cover_every_place_and_cut_both() -> None:
    corners = set()
    for step in range(300):
        image, depth = made(step, size=(46, 63))
        np.testing.assert_allclose(image[..., 0] * 255, depth, atol=1e-4)
        places = [
            (t, u) for t in range(3) for u in range(2) if (DEPTH[t : t + 46, u : u + 63] == depth).all()
        ]
        corners.update(places)
    assert corners == {(t, u) for t in range(3) for u in range(2)}


def test_one_switch_moves_no_other_draw() -> None:
    for step in range(20):
        image, depth = made(step, flip=0.5, colour=0.5, size=(40, 60))
        _, other = made(step, flip=0.5, colour=0.0, size=(40, 60))
        np.testing.assert_array_equal(depth, other)
        unflipped, _ = made(step, flip=0.0, colour=0.5, size=(40, 60))
        same = np.array_equal(image, unflipped) or np.array_equal(image, unflipped[:, ::-1])
        assert same


@pytest.mark.parametrize(
    ("option", "low", "high"),
    [("gamma", 0.9, 1.1), ("brightness", 0.9, 1.1), ("channels", 0.9, 1.1)],
)
def test_colours_change_within_their_ranges(option: str, low: float, high: float) -> None:
    off = {"gamma": 0.0, "brightness": 0.0, "channels": 0.0}
    unit = IMAGE.astype(np.float32) / 255
    found = []
    for step in range(100):
        image, _ = made(step, colour=1.0, **{**off, option: 0.1})
        ratio = np.log(image) / np.log(unit) if option == "gamma" else image / unit
        spread = ratio.reshape(-1, 3)
        assert np.allclose(spread, spread[0], atol=1e-3)
        found.extend(spread[0])
        assert (option == "channels") == (np.ptp(spread[0]) > 1e-4)
    assert low - 1e-3 <= min(found) < low + 0.02 and high - 0.02 < max(found) <= high + 1e-3


@pytest.mark.parametrize("option", [{"flip": 1.5}, {"colour": -0.1}, {"gamma": 2.0}, {"rotation": -1.0}])
def test_ranges_that_make_no_sense_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        DepthAugment(**option)
