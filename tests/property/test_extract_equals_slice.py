"""The central property: an extracted network computes the same bits as the slice it was cut from."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.nn.heads import DenseHead
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import static_net
from evonas.supernets.supernet import Supernet, extract

NANO = {
    "space": evonet_space("nano", [0.5, 1, 2, 3], [8, 16, 24, 32], [0.5, 1, 2], [2, 2, 4, 2]),
    "dims": (24, 48, 96, 192),
    "heads": (2, 4, 8, 8),
    "stem_dim": 16,
    "stem_ratio": 2.0,
    "merge_ratio": 2.0,
}
# the paper's choices on half its widths and fewer blocks
HALF_EVONET = {
    "space": evonet_space("half", depths=[1, 2, 2, 2]),
    "dims": (32, 64, 128, 256),
    "heads": (2, 4, 8, 16),
    "stem_dim": 16,
}
NETWORKS = {
    "nano": NANO,
    "half evonet": HALF_EVONET,
    "nano per head": {**NANO, "width_slicing": "per_head"},
    "half evonet per head": {**HALF_EVONET, "width_slicing": "per_head"},
}


@lru_cache
def _supernet(name: str) -> Supernet:
    """Random weights and batch-norm statistics that are no identity."""
    family = EvoNet(**NETWORKS[name])
    supernet = Supernet(family, DenseHead(family.levels, 2, width=16), seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return supernet


def _image(seed, batch=2, height=64, width=96):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _draw(supernet, seed):
    return supernet.space.sample(np.random.default_rng(seed))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [False, True])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([(64, 96), (45, 37)]))
def test_extracted_equals_slice(name, training, seed, size):
    supernet, x = _supernet(name).train(training), _image(seed, 2, *size)
    genotype = _draw(supernet, seed)
    net = extract(supernet, genotype)
    assert net.training == training
    with torch.no_grad():
        statistics = {key: value.clone() for key, value in supernet.named_buffers()}
        output, levels = supernet.forward_with_features(x, genotype)
        for key, value in supernet.named_buffers():
            value.copy_(statistics[key])
        expected_output, expected_levels = net.forward_with_features(x)
    assert torch.equal(output, expected_output)
    assert all(map(torch.equal, levels, expected_levels))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_extracted_equal_those_of_the_slice(name):
    supernet = _supernet(name).train()
    genotype, x = supernet.space.smallest(), _image(3)
    net = extract(supernet, genotype)
    supernet.zero_grad()
    supernet(x, genotype).square().mean().backward()
    net(x).square().mean().backward()
    sliced = _supernet(name).backbone.stages[0].blocks["0"].mixer.out_proj.weight.grad
    own = net.backbone.stages[0].blocks["0"].mixer.out_proj.weight.grad
    groups = 2 if "per head" in name else 1
    by_group, width = sliced.unflatten(1, (groups, -1)), own.shape[1] // groups
    assert torch.equal(by_group[..., :width].flatten(1), own) and own.abs().sum() > 0
    assert by_group[..., width:].abs().sum() == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_interleaving_equals_running_apart(name):
    supernet = _supernet(name).eval()
    genotypes, x = [_draw(supernet, seed) for seed in range(3)], _image(4)
    with torch.no_grad():
        apart = [supernet(x, genotype) for genotype in genotypes]
        woven = [supernet(x, genotype) for _ in range(2) for genotype in genotypes]
    assert all(map(torch.equal, woven, apart + apart))


def test_extracted_owns_its_weights():
    supernet = _supernet("nano").eval()
    genotype, x = supernet.space.largest(), _image(5, batch=1)
    net = extract(supernet, genotype)
    theirs = {parameter.data_ptr() for parameter in supernet.state_dict().values()}
    assert not theirs & {parameter.data_ptr() for parameter in net.state_dict().values()}
    assert all(value.is_contiguous() for value in net.state_dict().values())
    before = supernet(x, genotype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert torch.equal(supernet(x, genotype), before)


def test_holds_only_what_it_needs():
    supernet = _supernet("nano")
    net = extract(supernet, supernet.space.smallest())
    names = [name for name, _ in net.named_parameters() if name.startswith("backbone.stages.2.blocks")]
    assert names and all(name.startswith("backbone.stages.2.blocks.0.") for name in names)
    assert sum(parameter.numel() for parameter in net.backbone.parameters()) < 400_000


def test_a_fresh_network_takes_its_state_dict():
    supernet = _supernet("nano").eval()
    genotype, x = _draw(supernet, 6), _image(6, batch=1)
    net = extract(supernet, genotype)
    other = EvoNet(**NANO)
    fresh = static_net(other, DenseHead(other.levels, 2, width=16, seed=9), genotype, seed=9).eval()
    assert not torch.equal(fresh(x), net(x))
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), net(x))


def test_extracted_learns_and_keeps_drop_path():
    family = EvoNet(**NANO, drop_path=0.2)
    supernet = Supernet(family, DenseHead(family.levels, 1))
    genotype = family.space.encode({**family.space.decode(family.space.smallest()), "d4": (False, True)})
    net = extract(supernet.requires_grad_(False), genotype)
    assert net.backbone.stages[3].blocks["1"].drop_path == pytest.approx(0.2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    torch.manual_seed(0)
    x, losses = _image(7), []
    for _ in range(4):
        loss = (net(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
