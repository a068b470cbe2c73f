"""Triton's kernels in its interpreter against the reference; `test_triton_ops.py` runs this on its own."""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch
from evonas_kernels import triton_ssd
from torch import Tensor
from torch.testing import assert_close

from evonas.ops.ssd import reference, triton

# B L N P S: odd sizes, one token, several parts of a state, tiles that are exactly full
SIZES = [(2, 70, 2, 6, 4), (1, 1, 1, 3, 1), (1, 128, 2, 16, 16), (1, 300, 1, 20, 33)]
# digits that a type holds; its interpreter has no bfloat16
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3}


def answered(function, operands: list[Tensor]) -> list[Tensor]:
    """The output and the slopes of a weighted sum of it."""
    given = [each.detach().clone().requires_grad_() for each in operands]
    y = function(*given)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).float().sum().backward()
    return [y.detach(), *(each.grad for each in given)]


def check(size: tuple[int, ...], dtype: torch.dtype) -> None:
    """Forward and all gradients, relative to the largest number of each."""
    batch, tokens, heads, width, states = size
    draw = torch.Generator().manual_seed(0)
    shapes = [
        (batch, tokens, heads, width),
        (batch, tokens, heads),
        *[(batch, tokens, states)] * 2,
        (heads,),
    ]
    operands = [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]
    truth = answered(reference.ssd, [each.float() for each in operands])
    found = answered(triton.ssd, operands)
    for own, other in zip(found, truth, strict=True):
        assert own.dtype is dtype
        scale = other.abs().max().clamp_min(1e-6)
        assert_close(own.float() / scale, other / scale, rtol=0, atol=TOLERANCES[dtype])


def main() -> None:
    """Every size in every type."""
    triton_ssd.SPAN = 128
    for dtype in TOLERANCES:
        for size in SIZES:
            check(size, dtype)
    # what nobody wrote must not be read
    torch.use_deterministic_algorithms(True)
    check(SIZES[0], torch.float32)
    print(f"{len(SIZES) * len(TOLERANCES) + 1} checks")


if __name__ == "__main__":
    sys.exit(main())
