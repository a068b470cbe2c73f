"""Which implementation of a primitive runs: the best one that lives here, or the one asked for.

The choice is a context variable, so it is local to a thread or task and cannot leak.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from evonas.errors import UserError

Implementations = Mapping[str, Callable[..., Any]]
# by name: whether a kernel can take operands now, and what runs it
Kernels = Mapping[str, tuple[Callable[..., bool], Callable[..., Any]]]

# best first; a name is added here when a package under ops/ brings it
NAMES: tuple[str, ...] = (
    "gsplat",
    "mamba",
    "native",
    "triton",
    "associative",
    "chunked",
    "phased",
    "paired",
    "tiled",
    "reference",
)

_WANTED: ContextVar[str | None] = ContextVar("evonas_ops_backend", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run every primitive inside the block with the backend `name`; blocks may be nested.

    Raises:
        UserError: no backend of that name lives here.
    """
    if name not in NAMES:
        raise UserError(f"There is no backend '{name}'.", f"Choose one of: {', '.join(NAMES)}")
    token = _WANTED.set(name)
    try:
        yield
    finally:
        _WANTED.reset(token)


def wanted() -> str | None:
    """The backend asked for by the innermost `use`, or None outside of any."""
    return _WANTED.get()


def beside(plain: Implementations, kernels: Kernels, operands: tuple[Any, ...]) -> Implementations:
    """The implementations of a primitive, and those of its kernels that can take these operands now."""
    return {**plain, **{name: run for name, (can_run, run) in kernels.items() if can_run(*operands)}}


def choose(implementations: Implementations) -> Callable[..., Any]:
    """The implementation to run now: the one asked for, else the best; `reference` always exists."""
    name = _WANTED.get() or next(name for name in NAMES if name in implementations)
    return implementations.get(name, implementations["reference"])
