"""EvoNet with the size of its images as one more gene; without the gene nothing changes."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from evonas.errors import UserError
from evonas.nn.count import count_costs
from evonas.nn.heads import DenseHead
from evonas.space.space import Space
from evonas.supernets import families
from evonas.supernets.base import cost, labels
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet, extract

SIZE = (64, 96)


def space(resolutions: Any = (0.5, 0.75, 1.0), name: str = "small") -> Space:
    return evonet_space(name, (0.5, 1, 2), (4, 8), (0.5, 1), (1, 2, 1), resolutions)


def family(resolutions: Any = (0.5, 0.75, 1.0)) -> EvoNet:
    return EvoNet(space(resolutions), (8, 8, 16), (2, 2, 4), 8, 2.0, 2.0)


def test_the_gene_multiplies_the_space_and_stands_before_the_bits() -> None:
    with_gene, plain = space(), space(None)
    assert with_gene.size() == 3 * plain.size()
    assert list(with_gene.spans) == [*list(plain.spans)[:-3], "r1", "d1", "d2", "d3"]
    text = with_gene.format(with_gene.smallest())
    assert "/r=0.5/" in text and with_gene.parse(text) == with_gene.smallest()
    assert with_gene.members["resolution"] == ("r1",)
    largest = with_gene.decode(with_gene.largest({"resolution": "min"}))
    assert largest["r1"] == 0.5 and largest["m1"] == 2


def test_costs_labels_and_features_follow_the_gene() -> None:
    made = family()
    values = made.space.decode(made.space.largest())
    whole, half = (made.space.encode({**values, "r1": side}) for side in (1.0, 0.5))
    plain = family(None)
    same = plain.space.largest()
    assert made.input_size(half, SIZE) == (32, 48) and plain.input_size(same, SIZE) == SIZE
    assert cost(made, whole, SIZE) == cost(plain, same, SIZE)
    assert cost(made, half, SIZE) == cost(plain, same, (32, 48))
    assert set(labels(made, half, SIZE)) & set(labels(made, whole, SIZE)) == set()
    np.testing.assert_allclose(made.features(half), 0.25 * np.array(made.features(whole)))
    assert made.features(whole)[1:] == plain.features(same)
    net = extract(Supernet(made, DenseHead(made.levels, 1, width=8)), half).eval()
    counted = count_costs(net, SIZE)
    alone = extract(Supernet(plain, DenseHead(plain.levels, 1, width=8)), same).eval()
    assert counted["macs"] == count_costs(alone, (32, 48))["macs"] and counted["params"] > 0
    # it predicts at the size of the image
    with torch.no_grad():
        assert net(torch.zeros(1, 3, *SIZE)).shape[-2:] == alone(torch.zeros(1, 3, *SIZE)).shape[-2:]
    assert made.draw(half)[0].captions[-1] == "images x0.5"


def test_pixels_are_shorter_sides() -> None:
    made = family((32, 64))
    assert made.input_size(made.space.smallest(), SIZE) == (32, 48)
    assert made.draw(made.space.smallest())[0].captions[-1] == "images 32 px"


def test_an_export_keeps_the_gene() -> None:
    made = family()
    half = made.space.smallest()
    described = json.loads(json.dumps(made.describe(half)))
    assert described["resolution"] == 0.5
    backbone = families.restore(described)
    assert backbone.input_size(SIZE) == (32, 48) and backbone.path == made.path(half)
    plain = family(None)
    assert "resolution" not in plain.describe(plain.space.smallest())


def test_without_the_gene_steps_have_the_choices_of_their_blocks_alone() -> None:
    plain = family(None)
    steps = plain.path(plain.space.largest())
    assert [step.choice for step in steps] == [
        (),
        (2.0, 8, 1.0),
        (),
        (2.0, 8, 1.0),
        (2.0, 8, 1.0),
        (),
        (2.0, 0, 0),
        (),
    ]
    assert [step.label for step in steps] == [
        "",
        "stage1/m=2/s=8/e=1",
        "",
        *["stage2/m=2/s=8/e=1"] * 2,
        "",
        "stage3/m=2",
        "",
    ]


@pytest.mark.parametrize("resolutions", [[], [0.0], [1.5], [0.5, 64], [16]])
def test_sizes_that_are_none_are_refused(resolutions: list) -> None:
    with pytest.raises(UserError, match=r"space\.resolutions must be parts"):
        space(resolutions)
