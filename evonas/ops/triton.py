"""Access to the Triton kernels of `kernels/`, which `make kernels` installs, on a GPU.

They support float32, bfloat16 and float16, which autocast may mix, and accumulate in float32.
"""

import importlib
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from evonas.ops.native import PACKAGE, is_plain

TYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_usable(*operands: Tensor) -> bool:
    """Whether the kernels are installed and support these operands in the current context."""
    known = all(each.is_cuda and each.dtype in TYPES for each in operands)
    return known and is_installed() and is_plain()


def needs_float32_gradients(values: Tensor, *others: Tensor) -> bool:
    """Whether gradients of float32 matrix products are needed, for which torch is faster.

    They exceed a program's registers, those of half precision do not.
    """
    needs_gradient = torch.is_grad_enabled() and any(each.requires_grad for each in (values, *others))
    return needs_gradient and values.dtype is torch.float32


@cache
def is_installed() -> bool:
    """Whether the kernels and Triton are installed."""
    return all(find_spec(package) is not None for package in (PACKAGE, "triton"))


def call(kernel: str, *operands: Tensor) -> Any:
    """Runs a kernel on contiguous tensors, on their device.

    Args:
        kernel: primitive and function, such as `ssd.forward` for `forward` of `triton_ssd`.
        operands: the kernel's arguments.
    """
    primitive, function = kernel.split(".")
    module = importlib.import_module(f"{PACKAGE}.triton_{primitive}")
    with torch.cuda.device_of(operands[0]):
        return getattr(module, function)(*operands)
