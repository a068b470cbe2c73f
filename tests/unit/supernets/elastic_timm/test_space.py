"""The spaces of timm models."""

from dataclasses import replace

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.supernets.elastic_timm.cost import input_size
from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.space import depths, elastic_space, kept
from evonas.supernets.elastic_timm.structure import HEADS, WIDTH, Block, Group, Stage
from evonas.supernets.elastic_timm.structure_store import structure_of
from evonas.supernets.mbconv.space import mbconv_space


def test_genes_are_those_that_can_be_cut():
    space = elastic_space("test_vit")
    names = [axis.name for axis in space.axes]
    assert names[:5] == ["r1", "d1", "d2", "d3", "d4"]
    assert [name for name in names if name[0] == "h"] == [f"h{at}" for at in range(2, 8)]
    assert dict(space.groups)["width"] == tuple(name for name in names if name[0] in "eh")
    # at least half of two blocks run, so that the second one may be missing
    assert {axis.name: axis.expressed_by for axis in space.axes}["h4"] == "d2>=2"
    assert space.name == "timm-test_vit"


def test_channels_come_in_multiples_of_eight_and_heads_one_by_one():
    wide, odd, heads = (Group(kind, units, ()) for kind, units in ((WIDTH, 96), (WIDTH, 12), (HEADS, 3)))
    assert [kept(wide, part) for part in (0.5, 0.625, 0.99, 1)] == [48, 64, 96, 96]
    assert [kept(odd, part) for part in (0.01, 0.5, 1)] == [1, 6, 12]
    assert [kept(heads, part) for part in (0.5, 0.75, 1)] == [2, 2, 3]


def test_parts_that_mean_one_width_are_one_choice():
    space = elastic_space("mobilenetv3_small_050", widths=(0.9, 0.95, 1.0))
    assert all(len(axis.choices) < 3 for axis in space.axes if axis.name == "e2")


def test_blocks_that_cannot_be_left_out_always_run():
    fixed, loose = Block("a", ("a",)), Block("b", ("b",), (), True)
    assert list(depths(Stage((fixed, loose, loose), 8, 4), 0.5)) == [2, 3]
    assert list(depths(Stage((loose, loose), 8, 4), 0.0)) == [1, 2]


@pytest.mark.parametrize(
    ("patch", "size", "wanted"),
    [
        (14, (126, 168), [(56, 84), (84, 112), (112, 140), (126, 168)]),
        (16, (128, 160), [(64, 80), (80, 112), (112, 128), (128, 160)]),
        (4, (64, 96), [(32, 48), (40, 64), (56, 80), (64, 96)]),
    ],
)
def test_smaller_images_keep_their_shape_in_patches(patch, size, wanted):
    of = structure_of("test_vit")
    of = replace(of, stages=tuple(replace(stage, stride=patch) for stage in of.stages))
    assert [input_size(of, part, size) for part in (1 / 2, 2 / 3, 5 / 6, 1.0)] == wanted


def test_tied_blocks_have_one_gene():
    space = elastic_space("test_vit", tied=True)
    family = ElasticTimm(space, "test_vit")
    assert {axis.name[0] for axis in space.axes} == set("rdwa")
    rng = np.random.default_rng(0)
    points = {space.sample(rng) for _ in range(100)}
    assert len({family.path(each) for each in points}) == len(points)
    smallest = family.path(space.smallest())
    assert {step.choice[1:] for step in smallest if len(step.choice) == 3} == {(1, 96)}


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"widths": (0.5,)}, "widths"), ({"depth": 2}, "depth"), ({"heads": (0, 1)}, "heads")],
)
def test_unusable_choices_are_refused(settings, word):
    with pytest.raises(UserError, match=rf"space\.{word}"):
        elastic_space("test_vit", **settings)


def test_another_space_is_refused():
    with pytest.raises(UserError, match="its genes are"):
        ElasticTimm(mbconv_space(), "test_resnet")
    with pytest.raises(UserError, match="its genes are"):
        ElasticTimm(elastic_space("test_vit"), "test_resnet")
    with pytest.raises(UserError, match=r"network\.order"):
        ElasticTimm(elastic_space("test_vit"), "test_vit", order="random")
