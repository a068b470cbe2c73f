"""Whether values of a config are of the kind that the signature of what they make asks for: whole numbers and lists."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from evonas.errors import UserError


def refuse_wrong_kinds(target: str, made: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise a UserError for the first fraction where a signature asks for a whole number, or single value for a list.

    Args:
        target: what is made, as the config names it.
        made: the class or function itself.
        given: its arguments by name.
    """
    for name, parameter in parameters(made).items():
        value = given.get(name)
        if isinstance(value, float) and is_whole(parameter.annotation):
            said = f"{target}: {name}={value} is not written as a whole number."
            raise UserError(said, _hint(name, value))
        if isinstance(value, str | int | float) and is_list(parameter.annotation):
            raise UserError(
                f"{target}: {name}={value} is not a list.", f"A list has brackets: {name}=[{value}]"
            )


def is_list(annotation: Any) -> bool:
    """Whether a value of this annotation must be a list, or None."""
    is_union = get_origin(annotation) in (Union, UnionType)
    kinds = [each for each in (get_args(annotation) if is_union else (annotation,)) if each is not type(None)]
    return bool(kinds) and all(get_origin(each) in (Sequence, list, tuple) for each in kinds)


def is_whole(annotation: Any) -> bool:
    """Whether a number of this annotation must be whole."""
    kinds = get_args(annotation) or (annotation,)
    return int in kinds and float not in kinds


def _hint(name: str, value: float) -> str:
    return f"Try {name}={max(1, int(value))}." if math.isfinite(value) else f"Give {name} as digits."


def parameters(made: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """What a class or function takes, by name."""
    try:
        return inspect.signature(made).parameters
    except ValueError:
        # of what is written in C nobody knows the arguments
        return {}
