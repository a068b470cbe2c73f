"""What runs on a GPU gives what the CPU gives."""

import pytest
import torch

from evonas.nn.heads import DenseHead
from evonas.randomness import generator
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet, extract
from evonas.train.distillation.cross_architecture import Distiller

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA or AMD GPU"),
]


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    space = evonet_space()
    family = EvoNet(space, [64, 128, 256, 512], [2, 4, 8, 16])
    return Supernet(family, DenseHead(family.levels, 1)).eval()


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("seed", range(4))
def test_subnets_give_the_same_on_both(supernet: Supernet, seed: int) -> None:
    genotype = supernet.space.sample(generator(seed, "gpu"))
    image = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(seed))
    net = extract(supernet, genotype)
    with torch.inference_mode():
        here = net(image)
        there = net.cuda()(image.cuda()).cpu()
    assert torch.allclose(here, there, atol=2e-4 * float(here.abs().max()))


def test_gradients_agree(supernet: Supernet) -> None:
    net = extract(supernet, supernet.space.smallest()).double()
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    net(image).square().mean().backward()
    here = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    net.cuda().zero_grad()
    net(image.cuda()).square().mean().backward()
    there = [parameter.grad.cpu() for parameter in net.parameters() if parameter.grad is not None]
    assert len(here) == len(there) > 0
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("frequency", ["dc_removed", "highpass", "coefficients"])
def test_distillation_survives_bf16(frequency: str) -> None:
    distiller = Distiller(512, 1024, frequency=frequency).cuda()
    student, teacher = torch.randn(2, 512, 11, 38).cuda(), torch.randn(2, 1024, 14, 19).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        total = distiller(student, teacher).total
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in distiller.parameters() if p.grad is not None)
