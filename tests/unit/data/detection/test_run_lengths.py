"""Run lengths are read as pycocotools writes them, and nothing else is read as run lengths."""

import numpy as np
import pytest
from pycocotools import mask as masks

from evonas.data.detection.run_lengths import fills, run_lengths


@pytest.mark.parametrize("seed", range(6))
def test_a_text_says_what_pycocotools_wrote(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 200, 2))
    # masks of few long runs and of many short ones
    mask = (random.random((height, width)) < random.choice([0.001, 0.5, 0.999])).astype(np.uint8)
    text = masks.encode(np.asfortranarray(mask))["counts"].decode()
    edges = np.flatnonzero(np.diff(mask.T.flatten(), prepend=0)).tolist()
    expected = np.diff([0, *edges, height * width]).tolist()
    counts = run_lengths(text)
    assert counts is not None and list(counts) == expected
    assert fills(counts, height, width) and not fills(counts, height + 1, width)


@pytest.mark.parametrize(
    "counts",
    [
        None, 7, {}, [1.5], [True], [-1], ["x"], [float("nan")], [10**400, -1],
        "~", " ", "zzzzzzzz~~~~", "o", "oooooooooooo", "@", "10\u0660",
    ],
)  # fmt: skip
def test_other_things_are_no_run_lengths(counts: object) -> None:
    assert run_lengths(counts) is None


def test_lists_are_read_where_their_numbers_are_exact() -> None:
    assert run_lengths([0, 3.0, "2"]) == (0, 3, 2)
    assert run_lengths([]) == () == run_lengths("")
