"""Blocks whose inner activations are computed again for the gradients instead of being kept.

Memory then holds one map a block, for one more forward pass of the blocks. Blocks have no batch norm, whose
statistics would be updated twice. The wish is a context variable, so it is local to a thread or task.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_WANTED: ContextVar[bool] = ContextVar("evonas_recompute", default=False)


@contextmanager
def recomputing(is_wanted: bool = True) -> Iterator[None]:
    """Whether `through` recomputes inside the block; gradients are the same bits either way."""
    token = _WANTED.set(is_wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def checkpointed(block: Callable[..., Tensor], x: Tensor, *others: Any) -> Tensor:
    """`block(x, *others)`; random numbers that it draws are drawn alike again."""
    if not _WANTED.get() or not torch.is_grad_enabled():
        return block(x, *others)
    result: Tensor = checkpoint(block, x, *others, use_reentrant=False)
    return result
