"""gsplat's kernels draw what the reference draws."""

import pytest
import torch
from torch.testing import assert_close

from evonas.ops import backend, splat

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def test_kernels_and_reference_agree() -> None:
    pytest.importorskip("gsplat")
    drawn = torch.Generator().manual_seed(0)
    means = torch.randn(60, 3, generator=drawn) + torch.tensor([0.0, 0.0, 4.0])
    scales = 0.1 * torch.rand(60, 3, generator=drawn) + 0.05
    others = torch.randn(60, 4, generator=drawn), scales, torch.rand(60, generator=drawn)
    camera = torch.eye(4), torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]])
    operands = [means, *others, torch.rand(60, 3, generator=drawn), *camera]

    def image(name: str, device: str) -> torch.Tensor:
        with backend.use(name):
            return splat.splat(*(x.to(device) for x in operands), 32, 48).cpu()

    # gsplat leaves out what is beyond three deviations, which is an alpha of one in ninety
    assert_close(image("gsplat", "cuda"), image("reference", "cpu"), rtol=0, atol=0.02)
