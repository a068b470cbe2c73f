"""Numbers of foreign documents: exact ones are read, others are not."""

import math
from typing import Any

import pytest

from evonas.data.io.json_values import flag, integer, number, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), (3.0, 3), ("3", 3), (" 3.0 ", 3), ("-2", -2), (10**400, 10**400), (3.5, None), ("3.5", None),
     (True, None), (None, None), ("", None), ("three", None), (math.inf, None), (math.nan, None), (1e300, None),
     ([3], None)],
)  # fmt: skip
def test_integers(value: Any, expected: int | None) -> None:
    assert integer(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3.0), (0.5, 0.5), ("1e2", 100.0), ("nan", None), ("inf", None), ("infinity", None), ("1_0", None),
     (10**400, None), ("1e999", None), (math.nan, None), (-math.inf, None), (False, None), ({}, None)],
)  # fmt: skip
def test_numbers(value: Any, expected: float | None) -> None:
    assert number(value) == expected


def test_truth_values() -> None:
    assert [flag(value) for value in (0, 1, False, True, 0.0, "1", "0")] == [
        False, True, False, True, False, True, False,
    ]  # fmt: skip
    assert [flag(value) for value in (2, -1, None, "false", "", [], math.nan)] == [None] * 7


def test_long_values_are_shortened_in_messages() -> None:
    assert shown("a") == "'a'"
    assert len(shown(10**400)) < 100
