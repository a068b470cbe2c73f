"""Access to the compiled CPU kernels of `kernels/`, which `make kernels` builds.

They support float32 on the CPU. Tracing, counting and export of a network see plain operations instead.
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
# the first release with all kernels that are called here; older ones are not used
OLDEST = (0, 2)


def is_usable(*operands: Tensor) -> bool:
    """Whether the kernels are installed and support these operands in the current context."""
    return (
        is_plain()
        and is_built()
        and all(each.device.type == "cpu" and each.dtype is torch.float32 for each in operands)
    )


def is_plain() -> bool:
    """Whether operations are executed eagerly: not traced, compiled, exported or intercepted by a torch mode."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    # zero-cost proxies intercept torch functions and would miss those inside a kernel
    return _get_current_dispatch_mode() is None and _get_current_function_mode() is None


@cache
def is_built() -> bool:
    """Whether the package is installed, recent enough, and its library loads."""
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
    """The loaded library (see `kernels/evonas_kernels`)."""
    return importlib.import_module(PACKAGE).library()


def version() -> str | None:
    """The version of the kernels, or None if they are not available."""
    return str(importlib.import_module(PACKAGE).__version__) if is_built() else None


def call(name: str, tensors: tuple[Tensor, ...], sizes: tuple[int, ...]) -> None:
    """Runs a kernel in place, with torch's number of threads.

    Args:
        name: function of the library.
        tensors: operands and outputs; the caller has checked dtype and layout.
        sizes: sizes and strides that the kernel takes after the pointers.
    """
    pointers = [each.data_ptr() for each in tensors]
    getattr(library(), name)(*pointers, *sizes, torch.get_num_threads())


def gapless(x: Tensor) -> Tensor:
    """The tensor without gradient, contiguous; a copy only if it is not contiguous."""
    return x.detach().contiguous()


def rows(x_BLC: Tensor) -> Tensor:
    """B L C without gradient, with contiguous channels and evenly spaced tokens; a copy only if necessary."""
    x_BLC = x_BLC.detach()
    batch, tokens, channels = x_BLC.shape
    even = x_BLC.stride(2) == 1 and (batch == 1 or x_BLC.stride(0) == tokens * x_BLC.stride(1))
    return x_BLC if even and x_BLC.stride(1) >= channels else x_BLC.contiguous()
