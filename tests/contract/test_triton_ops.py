"""Triton's kernels compute what the references say, in Triton's interpreter on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evonas.ops.ssd import triton


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
    assert found.stdout.split() == ["9", "checks"]


def test_they_are_for_gpus_and_small_heads_alone() -> None:
    x, b = torch.zeros(1, 4, 2, 8), torch.zeros(1, 4, 8)
    assert not triton.is_usable(x, b)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_they_agree_with_the_reference(dtype: torch.dtype) -> None:
    from evonas.ops.ssd import reference

    if not triton.is_installed():
        pytest.skip("the kernels are not installed: make kernels")
    shapes = [(2, 1000, 4, 64), (2, 1000, 4), (2, 1000, 48), (2, 1000, 48), (4,)]
    draw = torch.Generator().manual_seed(0)
    operands = [torch.randn(shape, generator=draw).cuda().to(dtype).requires_grad_() for shape in shapes]
    truth = [each.detach().float().requires_grad_() for each in operands]
    assert triton.is_usable(operands[0], operands[2])
    found, expected = triton.ssd(*operands), reference.ssd(*truth)
    found.float().square().mean().backward()
    expected.square().mean().backward()
    tolerance = 1e-4 if dtype is torch.float32 else 3e-2
    pairs = [(found, expected), *((own.grad, other.grad) for own, other in zip(operands, truth, strict=True))]
    for own, other in pairs:
        scale = other.abs().max()
        torch.testing.assert_close(own.float() / scale, other / scale, rtol=0, atol=tolerance)
