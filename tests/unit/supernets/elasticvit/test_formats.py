"""Networks of ElasticViT as nested lists: round trips, and lists that are no network in one sentence."""

import copy
from typing import Any

import numpy as np
import pytest

from evonas.errors import DataError, EvoNASError, UserError
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.formats import read_network, write_network
from evonas.supernets.elasticvit.space import vit_space

SPACE, LAYERS = vit_space(), vit_space("layers", per_layer=True)
# L2 of the publication
L2 = [
    256,
    [16, 24, 40, 80, 128, 256, 304],
    [1, 3, 4, 2, 2, 2, 2],
    [1, 6, 6, 6, 6, 6, 6, 6],
    [3] * 8,
    [3, 3, 2, 2, 3, 3, 5, 5],
    [5, 5, 8, 8, 16, 16, 19, 19],
    [1] * 8,
    [1] * 8,
    [2, 2, 2, 2, 2, 2, 3, 3],
]


def test_a_published_network_is_read() -> None:
    for space in (SPACE, LAYERS):
        published = ElasticViT(space).published["L2"].genotype
        assert space.format(read_network(space, L2)) == published
        assert write_network(space, space.parse(published)) == L2


@pytest.mark.parametrize("space", [SPACE, LAYERS], ids=["per stage", "per layer"])
def test_round_trips(space: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        genotype = space.sample(rng)
        assert read_network(space, write_network(space, genotype)) == genotype


def _changed(at: int, value: Any) -> list[Any]:
    return [value if index == at else part for index, part in enumerate(copy.deepcopy(L2))]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "not a network of ElasticViT"),
        ("text", "not a network of ElasticViT"),
        (L2[:9], "not a network of ElasticViT"),
        (_changed(0, "256"), "image size must hold numbers"),
        (_changed(0, 255), "r1=255 is not in the space"),
        (_changed(1, [16, 24]), "not those of 7 stages"),
        (_changed(1, [16, 24, 48, 32, 128, 256, 304]), "heads are"),
        (_changed(2, [1, 3, 4, 2, 2, 2, 3]), "There are 8 mlp ratios for 9 layers"),
        (_changed(2, [1, 3, 4, 2, 2, 2, 0]), "not those of 7 stages"),
        (_changed(3, [2, 6, 6, 6, 6, 6, 6, 6]), "conv ratios of the stem are"),
        (_changed(3, 6), "conv ratios must be a list"),
        (_changed(4, [3] * 7 + [5]), "The layers of stage 2 differ"),
        (_changed(6, [5] * 8), "heads are"),
        (_changed(7, [7] * 8), "windows are"),
        (_changed(8, [2] * 8), "qk scales are"),
        (_changed(9, [2] * 6 + [7, 7]), "v4=7 is not in the space"),
        (_changed(9, [None] * 8), "v scales must hold numbers"),
    ],
)
def test_what_is_no_network_is_refused(found: Any, said: str) -> None:
    with pytest.raises((DataError, UserError)) as caught:
        read_network(SPACE, found)
    assert isinstance(caught.value, EvoNASError) and said in caught.value.message


def test_layers_that_differ_are_in_the_space_of_layers() -> None:
    mixed = _changed(4, [3] * 7 + [5])
    assert write_network(LAYERS, read_network(LAYERS, mixed)) == mixed
