"""The door to Triton's kernels of `kernels/`, on a GPU where `make kernels` has installed them.

They take float32, bfloat16 and float16, which autocast may mix, and add up in float32.
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
    """Whether the kernels are here and can take these operands now."""
    known = all(each.is_cuda and each.dtype in TYPES for each in operands)
    return known and is_installed() and is_plain()


def wants_single_slopes(values: Tensor, *others: Tensor) -> bool:
    """Whether gradients of matrix products in float32 are wanted: they overflow a program's registers.

    Torch's own products are faster then; of half precision they fit.
    """
    is_wanted = torch.is_grad_enabled() and any(each.requires_grad for each in (values, *others))
    return is_wanted and values.dtype is torch.float32


@cache
def is_installed() -> bool:
    """Whether both packages are."""
    return all(find_spec(package) is not None for package in (PACKAGE, "triton"))


def call(kernel: str, *operands: Tensor) -> Any:
    """What a function makes of tensors without gaps, on their device; `ssd.forward` lives in `triton_ssd`."""
    primitive, function = kernel.split(".")
    module = importlib.import_module(f"{PACKAGE}.triton_{primitive}")
    with torch.cuda.device_of(operands[0]):
        return getattr(module, function)(*operands)
