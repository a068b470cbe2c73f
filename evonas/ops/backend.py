"""Selection of a primitive's implementation: the fastest available one, or the one requested by `use`.

The request is a context variable, local to a thread or task.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

from evonas.errors import UserError

Implementations = Mapping[str, Callable[..., Any]]
# by name: whether a kernel supports the operands, and the function that runs it
Kernels = Mapping[str, tuple[Callable[..., bool], Callable[..., Any]]]

# fastest first; a new backend of a package under ops/ adds its name here
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
    """Runs every primitive within the context with the backend `name`; contexts may be nested.

    A primitive without this backend runs its reference.

    Raises:
        UserError: the backend is unknown.
    """
    if name not in NAMES:
        raise UserError(f"There is no backend '{name}'.", f"Choose one of: {', '.join(NAMES)}")
    token = _WANTED.set(name)
    try:
        yield
    finally:
        _WANTED.reset(token)


def wanted() -> str | None:
    """The backend requested by the innermost `use`, or None."""
    return _WANTED.get()


def run(
    implementations: Implementations, kernels: Kernels, operands: tuple[Tensor, ...], *others: Any
) -> Tensor:
    """Runs a primitive with the requested implementation, else with the fastest one that supports the operands.

    Args:
        implementations: functions in plain torch, which support all operands; `reference` among them.
        kernels: optional kernels.
        operands: tensors of which the kernels may support some only.
        others: further arguments.
    """
    usable = {name: function for name, (is_usable, function) in kernels.items() if is_usable(*operands)}
    result: Tensor = choose({**implementations, **usable})(*operands, *others)
    return result


def choose(implementations: Implementations) -> Callable[..., Any]:
    """The requested implementation, else the fastest; `reference` always exists."""
    name = _WANTED.get() or next(name for name in NAMES if name in implementations)
    return implementations.get(name, implementations["reference"])
