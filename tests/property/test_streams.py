"""Subnets of timm models whose streams are cut: extraction, costs and levels of random genotypes."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.nn.count import count_costs
from evonas.nn.heads import DenseHead
from evonas.supernets.base import cost, levels_of
from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.space import elastic_space
from evonas.supernets.supernet import Supernet, extract

SIZE = (32, 64)
MODELS = ("resnet10t", "mobilenetv3_small_100", "deit_tiny_patch16_224")


@lru_cache
def _supernet(model: str) -> Supernet:
    """Random weights and batch-norm statistics that are no identity."""
    space = elastic_space(model, streams=(0.25, 0.5, 0.75, 1.0), depth=0.0)
    family = ElasticTimm(space, model)
    supernet = Supernet(family, DenseHead(family.levels, 2, width=16), seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for module in supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return supernet


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_random_subnets_are_their_slices_and_cost_what_is_counted(model, seed):
    supernet = _supernet(model)
    genotype = supernet.space.sample(np.random.default_rng(seed))
    image = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(seed))
    alone = extract(supernet, genotype)
    with torch.no_grad():
        assert torch.equal(supernet(image, genotype), alone(image))
        maps = alone.features(image)
    levels = levels_of(supernet.family, genotype)
    assert [each.shape[1] for each in maps] == [level.channels for level in levels]
    assert alone.levels == levels
    total = cost(supernet.family, genotype, SIZE)
    assert {"params": total.params, "macs": total.macs} == count_costs(alone.backbone, SIZE)
