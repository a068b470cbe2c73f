"""Streams: what is found, what is refused and why, and subnets of fewer channels between blocks."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from evonas.errors import DataError, UserError
from evonas.nn.classifier import Classifier
from evonas.nn.heads import DenseHead
from evonas.nn.upernet import UPerNet
from evonas.supernets import base, families
from evonas.supernets.elastic_timm import structure_store, subnet
from evonas.supernets.elastic_timm.backbone import cut_out, whole
from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.order import norm_scores, taylor_scores
from evonas.supernets.elastic_timm.space import elastic_space
from evonas.supernets.elastic_timm.streams import find_streams
from evonas.supernets.elastic_timm.structure import STREAM, Stage, structure_from
from evonas.supernets.elastic_timm.structure_store import structure_of
from evonas.supernets.elastic_timm.trace import Finder
from evonas.supernets.supernet import Supernet, extract

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def _family(name="test_resnet", order="norm", streams=(0.5, 1.0)):
    return ElasticTimm(elastic_space(name, streams=streams), name, order=order)


def _supernet(family, head=None):
    net = Supernet(family, head or DenseHead(family.levels, 2, width=8)).eval()
    source = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=source)
            module.running_var.uniform_(0.5, 1.5, generator=source)
            module.weight.data.uniform_(0.5, 1.5, generator=source)
    return net


def _only(space, **parts):
    """The largest point with other choices for some genes."""
    values = {axis.name: axis.choices[-1] for axis in space.axes} | parts
    return space.from_vector([axis.choices.index(values[axis.name]) for axis in space.axes])


def test_streams_of_a_residual_network_span_its_stages():
    found = structure_of("test_resnet", variant="streams")
    streams = [found.groups[at] for at in found.streams]
    assert [each.units for each in streams] == [32, 48, 192, 96]
    assert all(each.kind == STREAM and each.is_exact for each in streams) and not found.refused
    # each is a whole level, and read by the first block of the next stage
    assert [(each.stage, each.group, each.starts, each.length) for each in found.level_axes] == [
        (at, index, (0,), 1) for at, index in enumerate(found.streams)
    ]
    first, second, *_ = found.streams
    by_name = {block.name: block for block in found.blocks}
    assert first in by_name["layer1.0"].groups and second not in by_name["layer1.0"].groups
    assert {first, second} <= set(by_name["layer2.0"].groups)
    owned = {(axis.tensor, axis.axis) for axis in found.groups[second].axes}
    assert owned >= {
        ("layer2.0.conv2.weight", 0),
        ("layer2.0.downsample.1.weight", 0),
        ("layer3.0.conv1.weight", 1),
        ("layer3.0.downsample.1.weight", 1),
    }


def test_the_embedding_of_a_transformer_is_one_stream():
    found = structure_of("test_vit", variant="streams")
    [index] = found.streams
    stream = found.groups[index]
    # layer norms average over its channels
    assert stream.units == 64 and not stream.is_exact
    assert {(axis.tensor, axis.axis) for axis in stream.axes} >= {
        ("pos_embed", 2),
        ("cls_token", 2),
        ("patch_embed.proj.weight", 0),
        ("blocks.0.attn.qkv.weight", 1),
        ("blocks.5.mlp.fc2.weight", 0),
    }
    assert [each.stage for each in found.level_axes] == [0, 1, 2, 3]
    assert all(index in block.groups for block in found.blocks)


def test_two_channels_of_a_concatenation_go_together():
    found = structure_of("ghostnet_050", variant="streams")
    assert {each.starts for each in found.level_axes if each.stage == 0} == {(0, 6)}
    family = _family("ghostnet_050")
    pieces = family.level_pieces(_only(family.space, c2=0.5))[0]
    assert base.level_channels(family, family.space.largest()).pieces is None
    # half of both halves, which are not the first channels of the level
    assert pieces == ((0, 3), (6, 3))
    net = _supernet(family)
    genotype = family.space.smallest()
    assert torch.equal(net(IMAGES, genotype), extract(net, genotype)(IMAGES))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_without_its_streams_a_structure_is_the_plain_one(name):
    plain, found = structure_of(name), structure_of(name, variant="streams")
    count = len(plain.groups)
    stages = tuple(
        replace(
            stage,
            blocks=tuple(
                replace(block, groups=tuple(at for at in block.groups if at < count))
                for block in stage.blocks
            ),
        )
        for stage in found.stages
    )
    settings = (
        replace(each, per_unit=tuple(pair for pair in each.per_unit if pair[0] < count))
        for each in found.settings
    )
    left = replace(
        found,
        stages=stages,
        groups=found.groups[:count],
        settings=tuple(each for each in settings if each.per_unit),
        level_axes=(),
    )
    assert left.digest == plain.digest != found.digest
    assert "level_axes" not in plain.plain()


@pytest.mark.parametrize(("name", "variant"), [("test_resnet", "streams"), ("test_vit", "streams-rotated")])
def test_structures_with_streams_are_read_and_found_again(name, variant, tmp_path, monkeypatch):
    made = structure_of(name, variant=variant)
    assert structure_from(made.plain()) == made and made.level_axes
    assert structure_of(name, made.digest) == made
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    structure_store._read.cache_clear()
    try:
        assert structure_of(name, made.digest) == made
    finally:
        structure_store._read.cache_clear()


def test_genes_of_streams_are_numbered_through_and_free():
    space = elastic_space("test_resnet", streams=(0.25, 0.5, 1.0))
    genes = {axis.name: axis for axis in space.axes if axis.name[0] == "c"}
    assert list(genes) == ["c1", "c2", "c3", "c4"]
    assert all(axis.choices == (0.25, 0.5, 1.0) and not axis.expressed_by for axis in genes.values())
    assert set(genes) <= set(dict(space.groups)["width"])
    assert not any(axis.name[0] == "c" for axis in elastic_space("test_resnet").axes)
    assert elastic_space("test_resnet", streams=(1.0,)) == elastic_space("test_resnet")


def test_a_structure_without_streams_has_none_to_cut():
    plain = structure_of("test_resnet").digest
    with pytest.raises(UserError, match=r"space\.streams=\[0\.5, 1\.0\] is given, but network\.structure"):
        elastic_space("test_resnet", plain, streams=(0.5, 1.0))


def test_the_largest_subnet_is_timms_model_bit_for_bit():
    theirs = timm.create_model("test_resnet", pretrained=False).eval()
    net = _supernet(_family(order="none"))
    net.family.adopt(net, theirs.state_dict(), "zeros")
    with torch.no_grad():
        wanted = theirs.forward_intermediates(IMAGES, intermediates_only=True)[1:]
        found = net.subnet(net.space.largest()).features(IMAGES)
    assert len(found) == 4 and all(map(torch.equal, found, wanted))


def test_a_cut_stream_is_one_with_zeros_in_the_weights_that_read_it():
    family = _family()
    net = _supernet(family)
    family.sort_finally(net, [])
    genotype = _only(family.space, c2=0.5)
    [index] = [family.structure.streams[1]]
    with torch.no_grad():
        found = net(IMAGES, genotype)
        for axis in family.structure.groups[index].axes:
            if axis.axis == 1:
                net.backbone.net.get_parameter(axis.tensor)[:, 24:] = 0
        net.head.laterals[1].weight[:, 24:] = 0
        assert torch.allclose(net(IMAGES, family.space.largest()), found, rtol=1e-4, atol=1e-6)


def test_features_of_the_supernet_have_zeros_for_channels_that_a_level_lacks():
    net = _supernet(_family("ghostnet_050"))
    genotype = net.space.smallest()
    alone = net.subnet(genotype).features(IMAGES)
    found = net.features(IMAGES, genotype)
    assert [each.shape[1] for each in found] == [level.channels for level in net.levels]
    assert [each.shape[1] for each in alone] == [
        each.channels for each in base.levels_of(net.family, genotype)
    ]
    for own, padded, pieces in zip(alone, found, net.family.level_pieces(genotype), strict=True):
        kept = [start + at for start, length in pieces for at in range(length)]
        assert torch.equal(padded[:, kept], own)
        assert not padded[:, [at for at in range(padded.shape[1]) if at not in kept]].any()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("order", ["norm", "taylor"])
def test_sorting_streams_keeps_the_outputs_and_counts_what_the_head_reads(name, order):
    family = _family(name, order)
    net = _supernet(family)
    genotype = family.space.largest()
    with torch.no_grad():
        before = net(IMAGES, genotype)
    losses = [lambda: net(IMAGES, genotype).square().mean()] * 2

    def scores():
        if order == "norm":
            return norm_scores(family.structure, net.backbone.net, net.head)
        return taylor_scores(family.structure, net.backbone.net, losses, net.head)

    first = scores()
    family.sort_finally(net, losses)
    with torch.no_grad():
        assert torch.allclose(net(IMAGES, genotype), before, rtol=1e-3, atol=1e-5)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in net.parameters())
    for index in family.structure.streams:
        found = scores()[index]
        assert (found.diff() <= 1e-3 * found.max()).all() and not torch.equal(found, first[index])
    # weights of the head are among those that read a stream
    last = family.structure.streams[-1]
    alone = norm_scores(family.structure, net.backbone.net)[last]
    assert (norm_scores(family.structure, net.backbone.net, net.head)[last] > alone).all()


def test_heads_that_cannot_be_narrower_are_refused():
    family = _family()
    with pytest.raises(UserError, match="UPerNet cannot be narrower") as caught:
        Supernet(family, UPerNet(family.levels, 2, width=8, context="ppm", side_width=0))
    assert "head=light, head=classifier or head=fcn" in caught.value.hint
    # as all heads could be, where levels keep their channels
    plain = _family(streams=())
    Supernet(plain, UPerNet(plain.levels, 2, width=8, context="ppm", side_width=0))


def test_costs_of_a_classifier_are_those_of_its_own_channels():
    family = _family()
    genotype = family.space.smallest()
    channels = base.levels_of(family, genotype)[-1].channels
    assert channels == 48 == family.levels[-1].channels // 2
    assert base.classifier_cost(family, genotype, (64, 96), 10) == base.Cost(
        (channels + 1) * 10, channels * 10
    )
    alone = extract(Supernet(family, Classifier(family.levels, 10)), genotype)
    assert sum(each.numel() for each in alone.head.parameters()) == (channels + 1) * 10


def test_descriptions_with_two_widths_of_one_stream_are_damaged():
    family = _family()
    described = family.describe(family.space.largest())
    stream = family.structure.streams[0]
    block = next(block for block in family.structure.blocks if block.name == "layer1.0")
    number = family.structure.blocks.index(block)
    described["architecture"]["blocks"][number][block.groups.index(stream)] = 16
    with pytest.raises(DataError, match="16 channels of a stream that has 32 before"):
        families.restore(described)


class _Halves(nn.Module):
    """Reads both halves of a map apart, of sizes that it keeps."""

    def __init__(self, channels):
        super().__init__()
        self.sizes = [channels // 2, channels // 2]
        self.convs = nn.ModuleList(nn.Conv2d(size, size, 1) for size in self.sizes)

    def forward(self, x):
        return torch.cat(
            [conv(each) for conv, each in zip(self.convs, x.split(self.sizes, 1), strict=True)], 1
        )


class _Mixed(nn.Module):
    """Adds the mean over channels, which belongs to none."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.conv(x + x.mean(1, keepdim=True))


class _Toy(nn.Module):
    def __init__(self, second):
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 8, 1), second, nn.Conv2d(8, 6, 1)


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        # what is behind the halves is cut
        (_Halves(8), {"stream one": "does not run without half of them"}),
        (_Mixed(8), {"stream one": "cannot be told apart"}),
        (nn.ReLU(), {}),
    ],
)
def test_what_cannot_be_cut_is_named(second, refused):
    with torch.no_grad():
        finder, x, stages, given = Finder(_Toy(second).eval()), IMAGES[:1], [], []
        for name in ("one", "two", "three"):
            given.append(x)
            block = finder.block((name,), x)
            x = finder.model.get_submodule(name)(x)
            stages.append(Stage((block,), x.shape[1], 1))
        made, axes = find_streams(finder, stages, given, "toy")
    reasons = dict(finder.refused)
    assert set(reasons) == set(refused)
    assert all(word in reasons[what] for what, word in refused.items())
    streams = [at for at, group in enumerate(finder.groups) if group.kind == STREAM]
    assert {each.group for each in axes} == set(streams)
    last = made[-1].blocks[0].groups
    assert streams[-1] in last and finder.groups[streams[-1]].units == 6
    # a block without tensors passes the first stream on
    if not refused:
        assert [set(stage.blocks[0].groups) for stage in made] == [{0}, {0}, {0, 1}]


def test_models_without_a_stream_to_cut_are_refused():
    with torch.no_grad():
        model = _Toy(nn.ReLU()).eval()
        model.three = nn.Conv2d(8, 1, 1)
        model.one = nn.Conv2d(3, 1, 1)
        finder = Finder(model)
        block = finder.block(("one",), IMAGES[:1])
        with pytest.raises(
            UserError, match="No stream of timm's toy can be cut: its channels cannot be told"
        ):
            find_streams(finder, [Stage((block,), 1, 1)], [IMAGES[:1]], "toy")


def test_subnets_of_random_genotypes_have_their_levels_and_run():
    family = _family("mobilenetv3_small_050", streams=(0.25, 0.5, 0.75, 1.0))
    backbone, rng = whole(family.structure), np.random.default_rng(0)
    for _ in range(5):
        genotype = family.space.sample(rng)
        of = family._architecture(genotype)
        made = cut_out(backbone, of)
        assert made.levels == subnet.levels(family.structure, of) == base.levels_of(family, genotype)
        with torch.no_grad():
            assert [each.shape[1] for each in made(IMAGES)] == [level.channels for level in made.levels]
