"""Triton's kernels in its interpreter against the references; `test_triton_ops.py` runs this on its own."""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch
from evonas_kernels import triton_causal_ssd, triton_dilated, triton_scan, triton_ssd
from torch import Tensor
from torch.testing import assert_close

from evonas.ops import causal_ssd, dilated, scan, ssd

# digits that a type holds; its interpreter has no bfloat16
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3}
CHECKS = {
    "ssd": (ssd.triton.ssd, ssd.reference.ssd),
    "scan": (scan.triton.scan, scan.reference.scan),
    "dilated": (dilated.triton.dilated, dilated.reference.dilated),
    "causal_ssd": (causal_ssd.triton.causal_ssd, causal_ssd.reference.causal_ssd),
}
# odd sizes, several parts, tiles that are exactly full, one token
CASES = {
    "ssd": [(2, 70, 2, 6, 4), (1, 128, 2, 16, 16), (1, 140, 1, 20, 33), (1, 1, 1, 3, 1)],
    "scan": [(2, 9, 19), (1, 16, 16), (1, 1, 3)],
    "dilated": [(2, 16, 1, 1), (1, 3, 3, 17)],
    "causal_ssd": [(2, 37, 1, 6, 4), (1, 32, 2, 16, 17), (1, 1, 1, 3, 1)],
}


def operands(primitive: str, size: tuple[int, ...]) -> list[Tensor]:
    """Numbers of the shapes that a primitive takes; steps are positive, rates negative."""
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    if primitive == "scan":
        batch, tokens, channels = size
        x, steps = some(*size), some(*size).abs()
        return [x, steps, -some(channels).abs(), some(batch, tokens)]
    if primitive == "dilated":
        return [some(*size), some(3, size[1], 3, 3), some(3)]
    batch, tokens, heads, width, states = size
    x, weights = some(batch, tokens, heads, width), some(batch, tokens, heads)
    keys, queries, skip = some(batch, tokens, states), some(batch, tokens, states), some(heads)
    if primitive == "ssd":
        return [x, weights, keys, queries, skip]
    return [x, weights.abs(), -some(heads).abs(), keys, queries, skip]


def answered(function, given: list[Tensor]) -> list[Tensor]:
    """The output and the slopes of a weighted sum of it."""
    given = [each.detach().clone().requires_grad_() for each in given]
    y = function(*given)
    (y * torch.linspace(-1, 1, y.numel()).to(y.dtype).view(y.shape)).float().sum().backward()
    return [y.detach(), *(each.grad for each in given)]


def check(primitive: str, size: tuple[int, ...], dtype: torch.dtype) -> None:
    """Forward and all gradients, relative to the largest number of each."""
    function, reference = CHECKS[primitive]
    given = [each.to(dtype) for each in operands(primitive, size)]
    truth, found = answered(reference, [each.float() for each in given]), answered(function, given)
    for own, other in zip(found, truth, strict=True):
        assert own.dtype is dtype
        scale = other.abs().max().clamp_min(1e-6)
        message = f"{primitive} {size} {dtype}"
        assert_close(own.float() / scale, other / scale, rtol=0, atol=TOLERANCES[dtype], msg=message)


def shrink() -> None:
    """Tiles and parts so small that a few tokens make several."""
    triton_ssd.SPAN = 128
    triton_scan.CHANNELS = 16
    triton_dilated.SIZES = {"BH": 8, "BW": 16, "BC": 16}
    triton_causal_ssd.TOKENS = dict.fromkeys(TOLERANCES, 16)


def main() -> None:
    """Every size in single precision, and the first of each primitive in half."""
    shrink()
    # what inference made and keeps must serve training as well
    with torch.inference_mode():
        CHECKS["dilated"][0](*operands("dilated", CASES["dilated"][0]))
    checks = [(primitive, size, torch.float32) for primitive, sizes in CASES.items() for size in sizes]
    checks += [(primitive, sizes[0], torch.float16) for primitive, sizes in CASES.items()]
    # what nobody wrote must not be read: deterministic mode fills it with NaN
    torch.use_deterministic_algorithms(True)
    for each in checks:
        check(*each)
    print(f"{len(checks)} checks")


if __name__ == "__main__":
    sys.exit(main())
