"""Triton's kernels compute what the references say, in Triton's interpreter on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evonas.ops import causal_ssd, dilated, scan, ssd, triton


def test_the_interpreted_kernels_agree_with_the_reference(root: Path) -> None:
    pytest.importorskip("triton")
    paths = [str(root / "kernels"), str(root)]
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("interpreted.py"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["16", "checks"]


def test_they_are_for_gpus_alone() -> None:
    x, keys, weights, heads = (
        torch.zeros(1, 4, 2, 8),
        torch.zeros(1, 4, 8),
        torch.zeros(1, 4, 2),
        torch.zeros(2),
    )
    assert not triton.is_usable(x)
    assert not ssd.triton.is_usable(x, weights, keys)
    assert not causal_ssd.triton.is_usable(x, weights, heads, keys, keys, heads)


def test_they_take_heads_and_states_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "is_usable", lambda *_: True)
    small, wide = torch.zeros(1, 4, 2, 64), torch.zeros(1, 4, 2, 65)
    keys, weights, heads = torch.zeros(1, 4, 64), torch.zeros(1, 4, 2), torch.zeros(2)
    assert causal_ssd.triton.is_usable(small, weights, heads, keys, keys, heads)
    # autocast leaves steps and rates in float32
    halves = (small.bfloat16(), weights, heads, keys.bfloat16(), keys.bfloat16(), heads)
    assert causal_ssd.triton.is_usable(*halves)
    assert not causal_ssd.triton.is_usable(wide, weights, heads, keys, keys, heads)
    assert not causal_ssd.triton.is_usable(small, weights, heads, keys.bfloat16(), keys, heads)
    # gradients of half precision alone: those of float32 overflow the registers
    assert not causal_ssd.triton.is_usable(small.requires_grad_(), weights, heads, keys, keys, heads)
    assert causal_ssd.triton.is_usable(halves[0].requires_grad_(), *halves[1:])
    with torch.no_grad():
        assert causal_ssd.triton.is_usable(small, weights, heads, keys, keys, heads)
    assert ssd.triton.is_usable(wide, weights, keys)
    assert not ssd.triton.is_usable(wide, weights, keys.bfloat16())


def _some(*shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw) for shape in shapes]


def _operands(primitive: str) -> list[Tensor]:
    """Steps are positive and rates negative, as in the networks."""
    if primitive == "scan":
        x, steps, rate, weight = _some((2, 3000, 200), (2, 3000, 200), (200,), (2, 3000))
        return [x, 0.1 * steps.abs(), -rate.abs(), weight]
    if primitive == "dilated":
        return _some((2, 100, 45, 61), (3, 100, 3, 3), (3,))
    x, weights, b, c, heads, d = _some((2, 1000, 4, 48), (2, 1000, 4), *[(2, 1000, 48)] * 2, (4,), (4,))
    if primitive == "ssd":
        return [x, weights, b, c, d]
    return [x, 0.1 * weights.abs(), -heads.abs(), b, c, d]


GPU = {
    "ssd": (ssd.triton.ssd, ssd.reference.ssd),
    "scan": (scan.triton.scan, scan.reference.scan),
    "dilated": (dilated.triton.dilated, dilated.reference.dilated),
    "causal_ssd": (causal_ssd.triton.causal_ssd, causal_ssd.reference.causal_ssd),
}


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("primitive", GPU)
def test_on_a_gpu_they_agree_with_the_reference(primitive: str, dtype: torch.dtype) -> None:
    if not triton.is_installed():
        pytest.skip("the kernels are not installed: make kernels")
    function, reference = GPU[primitive]
    operands = [each.cuda().to(dtype).requires_grad_() for each in _operands(primitive)]
    truth = [each.detach().float().requires_grad_() for each in operands]
    assert triton.is_usable(*operands)
    found, expected = function(*operands), reference(*truth)
    found.float().square().mean().backward()
    expected.square().mean().backward()
    tolerance = 1e-4 if dtype is torch.float32 else 3e-2
    pairs = [(found, expected), *((own.grad, other.grad) for own, other in zip(operands, truth, strict=True))]
    for own, other in pairs:
        scale = other.abs().max()
        torch.testing.assert_close(own.float() / scale, other / scale, rtol=0, atol=tolerance)
