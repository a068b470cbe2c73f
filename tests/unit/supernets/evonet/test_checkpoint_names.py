"""Published checkpoints in our networks: the numbers come out the same."""

from collections.abc import Mapping

import pytest
import torch
from published_vssd import Checkpoint, Published, Sizes, State
from torch import Tensor

from evonas.errors import DataError, UserError
from evonas.nn.classifier import Classifier
from evonas.nn.heads import DenseHead
from evonas.space.genotype import Genotype
from evonas.supernets.adoption import Adoption
from evonas.supernets.evonet.checkpoint_names import translate
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet, extract

SMALL = Sizes(
    dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), heads=(2, 2, 2, 4), expand=2, states=4, mlp=2, stem=8
)
CHOICES = {"m": 2.0, "s": 4, "e": 2.0}


def net(
    expand: tuple[float, ...] = (2.0,),
    states: tuple[int, ...] = (4,),
    mlp: tuple[float, ...] = (2.0,),
    classes: int = 5,
    slice: str = "prefix",
) -> Supernet:
    space = evonet_space("test", mlp, states, expand, SMALL.depths)
    family = EvoNet(space, SMALL.dims, SMALL.heads, stem_dim=SMALL.stem, width_slicing=slice)
    return Supernet(family, Classifier(family.levels, classes, seed=4), seed=3).eval()


def adopt(net: Supernet, found: Mapping[str, torch.Tensor], widening: str = "zeros") -> Adoption:
    return net.family.adopt(net, found, widening)


def larger(slice: str = "prefix") -> Supernet:
    return net(expand=(1.0, 2.0, 4.0), states=(2, 4, 8), mlp=(1.0, 2.0, 4.0), slice=slice)


def as_source(of: Supernet, choices: Mapping[str, float] = CHOICES) -> Genotype:
    """The subnet with the sizes of the source, every block on."""
    values = of.space.decode(of.space.largest())
    return of.space.encode({name: choices.get(name[0], value) for name, value in values.items()})


def image() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def classifier() -> State:
    return Checkpoint(SMALL).classifier(5)


@pytest.fixture(scope="module")
def backbone() -> State:
    return Checkpoint(SMALL).backbone()


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


@torch.no_grad()
def test_a_classifier_computes_what_the_formulas_say(classifier: State) -> None:
    here = net()
    report = adopt(here, classifier)
    close(here(image(), as_source(here)), Published(classifier, SMALL).logits(image()))
    assert report.naming == "vssd"
    assert not report.padded and not report.unused
    # a classifier has no norm of the first three levels
    assert sorted(report.left) == sorted(
        f"backbone.stages.{i}.norm.{k}" for i in range(3) for k in ("weight", "bias")
    )


@torch.no_grad()
def test_a_backbone_computes_what_the_formulas_say(backbone: State) -> None:
    here = net()
    report = adopt(here, backbone)
    for ours, theirs in zip(
        here.features(image(), as_source(here)), Published(backbone, SMALL).levels(image()), strict=True
    ):
        close(ours, theirs)
    assert sorted(report.left) == ["head.linear.bias", "head.linear.weight"]
    assert not report.unused


@torch.no_grad()
@pytest.mark.parametrize("slice", ["prefix", "per_head"])
def test_inside_a_larger_net_the_subnet_of_that_size_is_the_source(backbone: State, slice: str) -> None:
    here = larger(slice)
    report = adopt(here, backbone)
    expected = Published(backbone, SMALL).levels(image())
    for ours, theirs in zip(here.features(image(), as_source(here)), expected, strict=True):
        close(ours, theirs)
    first = {name.rpartition("mixer.")[2] for name in report.padded if "stages.0.blocks.0.mixer." in name}
    assert first == {
        "gate_proj.weight", "token_proj.weight", "conv.weight", "conv.bias", "norm.weight", "norm.bias",
        "out_proj.weight",
    }  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("wider", [{"s": 8}, {"m": 4.0}, {"s": 8, "m": 4.0}])
def test_zeros_keep_the_function_when_states_and_hidden_rows_are_added(
    backbone: State, wider: Mapping[str, float]
) -> None:
    here = larger()
    adopt(here, backbone)
    expected = Published(backbone, SMALL).levels(image())
    for ours, theirs in zip(
        here.features(image(), as_source(here, {**CHOICES, **wider})), expected, strict=True
    ):
        close(ours, theirs)


@torch.no_grad()
def test_zeros_change_the_function_when_inner_channels_are_added(backbone: State) -> None:
    """Said in adoption.py: the norm spans the new channels and the heads divide the channels otherwise."""
    here = larger()
    adopt(here, backbone)
    (first, *_), (expected, *_) = (
        here.features(image(), here.space.largest()),
        Published(backbone, SMALL).levels(image()),
    )
    assert (first - expected).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("slice", ["prefix", "per_head"])
def test_copies_keep_the_function_of_the_largest_net(backbone: State, slice: str) -> None:
    here = larger(slice)
    adopt(here, backbone, widening="copies")
    expected = Published(backbone, SMALL).levels(image())
    for ours, theirs in zip(here.features(image(), here.space.largest()), expected, strict=True):
        close(ours, theirs, 1e-4)


def test_copies_need_a_whole_multiple(backbone: State) -> None:
    with pytest.raises(UserError, match="multiple of 16 channels, got 24"):
        adopt(net(expand=(2.0, 3.0)), backbone, widening="copies")
    with pytest.raises(UserError, match="widening=none"):
        adopt(net(), backbone, widening="none")


@pytest.mark.parametrize("widening", ["zeros", "copies"])
def test_no_new_channel_is_dead(backbone: State, widening: str) -> None:
    """After one update every number of every padded tensor has a slope."""
    here = larger()
    report = adopt(here, backbone, widening)
    truth = torch.tensor([1, 3])
    for _ in range(2):
        here.zero_grad()
        torch.nn.functional.cross_entropy(here(image(), here.space.largest()), truth).backward()
        with torch.no_grad():
            for parameter in here.parameters():
                parameter -= 0.1 * (0.0 if parameter.grad is None else parameter.grad)
    slopes = {name: parameter.grad for name, parameter in here.named_parameters()}
    dead = {name: float((slopes[name] == 0).float().mean()) for name in report.padded}
    assert max(dead.values()) < 0.01, dead


@torch.no_grad()
def test_a_supernet_of_the_original_fits_whole_and_its_subnets_too() -> None:
    sizes = Sizes(**{**SMALL.__dict__, "expand": 4, "states": 8, "mlp": 4})
    state = Checkpoint(sizes).backbone()
    here = larger()
    report = adopt(here, state)
    assert not report.padded and not report.unused
    for ours, theirs in zip(
        here.features(image(), here.space.largest()), Published(state, sizes).levels(image()), strict=True
    ):
        close(ours, theirs)
    small = as_source(here)
    torch.testing.assert_close(extract(here, small)(image()), here(image(), small), rtol=0, atol=0)


@pytest.mark.parametrize("wrapping", ["module.", "encoder.", "module.backbone."])
def test_wrapped_names_are_unwrapped(backbone: State, wrapping: str) -> None:
    wrapped = {f"{wrapping}{name}": tensor for name, tensor in backbone.items()}
    wrapped["module.decoder.weight"] = torch.ones(2)
    here = net()
    report = adopt(here, wrapped)
    assert report.unused == ("module.decoder.weight",)
    assert len(report.adopted) == len(here.state_dict()) - 2


def test_our_own_files_fit_and_grow(backbone: State) -> None:
    small = net()
    adopt(small, backbone)
    for state in (small.state_dict(), small.backbone.state_dict()):
        here = larger()
        report = adopt(here, state)
        assert report.naming == "evonas"
        with torch.no_grad():
            ours = here.features(image(), as_source(here))[-1]
            close(ours, small.features(image(), as_source(small))[-1])
    assert "head.linear.weight" in adopt(larger(), small.state_dict()).adopted


def test_a_dense_net_takes_the_backbone_and_keeps_its_head(classifier: State) -> None:
    source = net()
    adopt(source, classifier)
    here = Supernet(source.family, DenseHead(source.levels, 1, width=8, seed=5))
    fresh = {name: tensor.clone() for name, tensor in here.head.state_dict().items()}
    report = adopt(here, source.state_dict())
    assert {name.split(".")[0] for name in report.adopted} == {"backbone"}
    assert set(report.left) == {f"head.{name}" for name in fresh}
    assert set(report.unused) == {"head.linear.weight", "head.linear.bias"}
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in here.head.state_dict().items())
    assert "left fresh: " in report.sentence() and "head.linear.weight" in report.sentence()


def test_a_head_of_other_classes_is_left_whole(classifier: State) -> None:
    here = net(classes=7)
    bias = here.head.linear.bias.clone()
    report = adopt(here, classifier)
    assert {"head.weight", "head.bias"} <= set(report.unused)
    assert torch.equal(here.head.linear.bias, bias)


def test_equal_shapes_with_other_segments_are_not_mixed_up() -> None:
    """16 + 2 * 8 rows and 24 + 2 * 4 rows are both 32."""
    sizes = Sizes(**{**SMALL.__dict__, "expand": 2, "states": 8})
    state = Checkpoint(sizes).backbone()
    here = net(expand=(3.0,), states=(4,))
    assert (
        here.state_dict()["backbone.stages.0.blocks.0.mixer.conv.bias"].shape
        == state["layers.0.blocks.0.attn.conv2d.bias"].shape
    )
    report = adopt(here, state)
    assert "layers.0.blocks.0.attn.conv2d.bias" in report.unused


def test_tensors_that_do_not_fit_are_named(backbone: State) -> None:
    broken = dict(backbone)
    broken["layers.0.blocks.0.norm1.weight"] = torch.ones(9)
    broken["layers.0.blocks.0.attn.lepe.weight"] = torch.ones(9)
    report = adopt(net(), broken)
    assert set(report.unused) == {"layers.0.blocks.0.norm1.weight", "layers.0.blocks.0.attn.lepe.weight"}
    assert "backbone.stages.0.blocks.0.norm1.weight" in report.left


def test_a_mixer_without_its_norm_cannot_be_split(backbone: State) -> None:
    less = {name: tensor for name, tensor in backbone.items() if name != "layers.0.blocks.0.attn.norm.weight"}
    assert "layers.0.blocks.0.attn.in_proj.weight" in adopt(net(), less).unused


def test_strangers_are_refused_with_the_namings_we_know() -> None:
    with pytest.raises(DataError, match=r"conv1\.weight") as caught:
        adopt(net(), {"conv1.weight": torch.ones(3), "layer1.0.bn1.bias": torch.ones(3)})
    assert "patch_embed.conv1" in caught.value.hint and "stem.enter" in caught.value.hint
    assert translate({"fc.weight": torch.ones(2)}) is None


def test_a_checkpoint_of_other_sizes_is_refused_with_shapes() -> None:
    state = {"patch_embed.conv1.conv.weight": torch.ones(32, 3, 3, 3)}
    with pytest.raises(DataError, match=r"\(32, 3, 3, 3\), here \(8, 3, 3, 3\)") as caught:
        adopt(net(), state)
    assert "network=evonet" in caught.value.hint


@torch.no_grad()
def test_vssd_tiny_in_the_supernet_of_the_paper() -> None:
    """True names, true shapes, true count (23 758 620 numbers), and the same features."""
    sizes = Sizes()
    state = Checkpoint(sizes).backbone()
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(tensor.numel() for name, tensor in state.items() if not name.endswith(buffers)) == 23_758_620
    space = evonet_space()
    family = EvoNet(space, (64, 128, 256, 512), (2, 4, 8, 16))
    here = Supernet(family, Classifier(family.levels, 10)).eval()
    report = adopt(here, state)
    assert isinstance(report, Adoption) and not report.unused
    assert len(report.padded) == 7 * 14
    point = as_source(here, {"m": 4.0, "s": 64, "e": 2.0})
    small = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    for ours, theirs in zip(here.features(small, point), Published(state, sizes).levels(small), strict=True):
        close(ours, theirs, 1e-4)
