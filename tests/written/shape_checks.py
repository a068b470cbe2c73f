"""Type checks of shapes while tests run; off while torch traces, which makes tensors of sizes."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its arguments and results checked by beartype."""
    import torch

    strict = beartype(function)

    @wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        return (function if torch.jit.is_tracing() else strict)(*args, **settings)

    return call
