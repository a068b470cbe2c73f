"""Errors carry what to type and how to end."""

import pytest

from evonas.errors import DataError, EngineError, EvoNASError, UserError


@pytest.mark.parametrize(
    ("kind", "code"), [(UserError, 2), (DataError, 3), (EngineError, 4), (EvoNASError, 1)]
)
def test_exit_codes(kind: type[EvoNASError], code: int) -> None:
    assert kind("x").exit_code == code


def test_the_hint_has_its_own_line() -> None:
    assert str(UserError("No task chosen.", "Try this")) == "No task chosen.\nTry this"
    assert str(UserError("No task chosen.")) == "No task chosen."
