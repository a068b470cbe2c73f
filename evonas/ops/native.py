"""The door to the compiled kernels of `kernels/`, where `make kernels` has built them.

They take float32 on the CPU. Whoever traces, counts or exports a network sees the plain operations instead.
"""

import importlib
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

PACKAGE = "evonas_kernels"
# the first release that has all kernels which are called here; an older one is not used
OLDEST = (0, 2)


def is_usable(*operands: Tensor) -> bool:
    """Whether the kernels are here and can take these operands now."""
    return (
        is_plain()
        and is_built()
        and all(each.device.type == "cpu" and each.dtype is torch.float32 for each in operands)
    )


def is_plain() -> bool:
    """Whether operations are computed here and now, not traced, counted, watched or exported."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    # training-free scores watch functions, and would miss those inside a kernel
    return _get_current_dispatch_mode() is None and _get_current_function_mode() is None


@cache
def is_built() -> bool:
    """Whether the package is installed, new enough, and its library can be opened."""
    if find_spec(PACKAGE) is None:
        return False
    try:
        library()
    except OSError:
        return False
    release = importlib.import_module(PACKAGE).__version__.split(".")
    return tuple(map(int, release[:2])) >= OLDEST


@cache
def library() -> Any:
    """The library; see `kernels/evonas_kernels`."""
    return importlib.import_module(PACKAGE).library()


def version() -> str | None:
    """Of the kernels that would be used; None where there are none."""
    return str(importlib.import_module(PACKAGE).__version__) if is_built() else None


def call(name: str, tensors: tuple[Tensor, ...], sizes: tuple[int, ...]) -> None:
    """Run a kernel on memory that the caller has checked, with as many threads as torch would use."""
    pointers = [each.data_ptr() for each in tensors]
    getattr(library(), name)(*pointers, *sizes, torch.get_num_threads())


def gapless(x: Tensor) -> Tensor:
    """The tensor itself, or a copy without gaps between its elements."""
    return x.detach().contiguous()


def rows(x_BLC: Tensor) -> Tensor:
    """The tensor itself where its tokens lie evenly spaced and each without gaps, else a copy: B L C."""
    x_BLC = x_BLC.detach()
    batch, tokens, channels = x_BLC.shape
    even = x_BLC.stride(2) == 1 and (batch == 1 or x_BLC.stride(0) == tokens * x_BLC.stride(1))
    return x_BLC if even and x_BLC.stride(1) >= channels else x_BLC.contiguous()
