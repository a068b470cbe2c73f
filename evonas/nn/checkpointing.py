"""Activation checkpointing of blocks: inner activations are recomputed in the backward pass.

Memory holds one map per block, at the cost of a second forward pass. Checkpointed blocks must not contain batch norms,
whose statistics would be updated twice. The setting is a context variable, local to a thread or task.
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
    """Enables activation checkpointing within the context; gradients are bit-identical either way."""
    token = _WANTED.set(is_wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def checkpointed(block: Callable[..., Tensor], x: Tensor, *others: Any) -> Tensor:
    """`block(x, *others)`, checkpointed if enabled; the recomputation uses the same random numbers."""
    if not _WANTED.get() or not torch.is_grad_enabled():
        return block(x, *others)
    result: Tensor = checkpoint(block, x, *others, use_reentrant=False)
    return result
