"""Non-causal state space duality by Triton's kernels, on a GPU where `make kernels` has installed them.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name the axes of a tensor.
"""

import importlib
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops.native import PACKAGE, is_plain

# the widest head and state whose tiles fit the registers and the shared memory of a program
WIDEST = 128
_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_usable(x_BLNP: Tensor, b_BLS: Tensor, *others: Tensor) -> bool:
    """Whether the kernels are here, for this device, these types and these sizes."""
    operands = (x_BLNP, b_BLS, *others)
    fits = max(x_BLNP.shape[-1], b_BLS.shape[-1]) <= WIDEST and x_BLNP.dtype in _TYPES
    alike = all(each.is_cuda and each.dtype is x_BLNP.dtype for each in operands)
    return alike and fits and is_installed() and is_plain()


@cache
def is_installed() -> bool:
    """Whether both packages are."""
    return all(find_spec(package) is not None for package in (PACKAGE, "triton"))


def ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    a_BLN: Float[Tensor, "B L N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """What `reference.ssd` computes; operands of one type, sums in float32."""
    result: Tensor = _SSD.apply(x_BLNP, a_BLN, b_BLS, c_BLS, d_N)
    return result


class _SSD(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        given = tuple(each.detach().contiguous() for each in operands)
        ctx.save_for_backward(*given)
        result: Tensor = _kernels().forward(*given)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BLNP: Tensor) -> tuple[Tensor, ...]:
        slopes: tuple[Tensor, ...] = _kernels().backward(*ctx.saved_tensors, slope_BLNP.contiguous())
        return slopes


def _kernels() -> Any:
    return importlib.import_module(f"{PACKAGE}.triton_ssd")
