"""UPerNet as a head of our own: published sizes, the auxiliary head, refusals and a loss that counts both."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from evonas import files, weights
from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput, main_output
from evonas.nn.level import Level
from evonas.nn.upernet import CONTEXTS, UPerNet
from evonas.stages.networks.exported import CONFIG, FORMAT, MODEL, describe, load_backbone, load_exported
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.published import PUBLISHED
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import static_net
from evonas.supernets.supernet import extract
from evonas.tasks.segmentation import Segmentation
from evonas.train.distillation.alpha_divergence import AlphaDivergence
from evonas.train.distillation.inplace import mean_output

LEVELS = [Level(64, 4), Level(128, 8), Level(256, 16), Level(512, 32)]
SMALL = [Level(8, 4), Level(12, 8), Level(16, 16)]


def maps(levels=SMALL, height=52, width=70, batch=2):
    generator = torch.Generator().manual_seed(0)
    sides = [(-(-height // level.stride), -(-width // level.stride)) for level in levels]
    return [
        torch.randn(batch, level.channels, *side, generator=generator)
        for level, side in zip(levels, sides, strict=True)
    ]


def small(**options):
    return UPerNet(SMALL, 5, width=16, side_width=8, **options)


def parameters(module):
    return sum(each.numel() for each in module.parameters())


def test_parameters_are_those_of_the_published_head():
    head = UPerNet(LEVELS, 150)
    assert head.auxiliary is not None and parameters(head.auxiliary) == 628_886
    assert parameters(head) - parameters(head.auxiliary) == 17_595_679


def test_parameters_of_the_published_segmentor():
    space = evonet_space()
    family = EvoNet(space, [64, 128, 256, 512], [2, 4, 8, 16])
    head = UPerNet(family.levels, 150, side_width=0)
    net = static_net(family, head, space.parse(PUBLISHED["ade20k-base"].genotype), seed=None)
    # 30.9 million by the published configuration, without the auxiliary head
    assert round(parameters(net) / 1e6, 1) == 30.9


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_logits_have_the_size_of_the_finest_map(context, count):
    head = UPerNet(SMALL[-count:], 5, width=16, side_width=8, context=context)
    given = maps(SMALL[-count:])
    size = given[0].shape[-2:]
    assert head.eval()(given).shape == (2, 5, *size)
    learning = head.train()(given)
    assert isinstance(learning, AuxiliaryOutput) and learning.main.shape == (2, 5, *size)
    assert learning.auxiliary.shape == (2, 5, *given[min(2, count - 1)].shape[-2:])


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_level_and_parameter_matters(context):
    head, given = small(context=context), [each.requires_grad_() for each in maps()]
    answer = head(given)
    (answer.main.square().sum() + answer.auxiliary.square().sum()).backward()
    assert all(each.grad.abs().sum() > 0 for each in given)
    assert [name for name, each in head.named_parameters() if not each.grad.abs().sum() > 0] == []


def test_without_an_auxiliary_head_the_answer_is_a_tensor():
    head = UPerNet(SMALL, 5, width=16, side_width=0)
    assert isinstance(head.train()(maps()), torch.Tensor)
    assert not any("side" in name for name in head.state_dict())


def test_the_answer_while_learning_is_detached_as_a_whole():
    answer = small()(maps())
    cut = answer.detach()
    assert answer.main.requires_grad and not cut.main.requires_grad and not cut.auxiliary.requires_grad
    assert torch.equal(cut.main, answer.main) and cut.weight == 0.4 and main_output(cut) is cut.main


def test_settings_make_the_head_again():
    head = small(context="ppm", dropout=0.2)
    again = UPerNet(SMALL, **head.settings)
    again.load_state_dict(head.state_dict())
    assert torch.equal(head.eval()(maps()), again.eval()(maps()))


def test_extraction_keeps_the_head(small_family):
    from evonas.supernets.supernet import Supernet

    supernet = Supernet(small_family, UPerNet(small_family.levels, 5, width=16, side_width=8))
    genotype = small_family.space.smallest()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    net = extract(supernet.eval(), genotype)
    assert torch.equal(net(image), supernet(image, genotype))


@pytest.fixture
def small_family() -> nn.Module:
    return EvoNet(evonet_space(), [8, 8, 16, 16], [2, 2, 2, 2], stem_dim=8)


def test_what_it_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"head\.context=crf"):
        UPerNet(SMALL, 5, context="crf")
    with pytest.raises(UserError, match="must be linear for UPerNet, got sigmoid"):
        UPerNet(SMALL, 1, output="sigmoid")


def test_a_segmentation_learns_from_both_heads_and_is_taught_by_the_main_one() -> None:
    task = Segmentation(SimpleNamespace(size=(52, 70)), UPerNet, "street", ["a", "b", "c", "d", "e"])
    truth = torch.randint(5, (2, 52, 70), generator=torch.Generator().manual_seed(0))
    truth[:, :8] = 255
    batch, answer = {"classes": truth}, small()(maps())
    alone = [task.loss(each, batch) for each in (answer.main, answer.auxiliary)]
    assert torch.equal(task.loss(answer, batch), alone[0] + 0.4 * alone[1])
    other = small(seed=1)(maps())
    assert torch.equal(
        task.distillation_loss(answer, other, batch), task.distillation_loss(answer.main, other.main, batch)
    )
    assert torch.equal(mean_output([answer, other], task), mean_output([answer.main, other.main], task))
    assert torch.equal(
        AlphaDivergence()(answer, other, batch, task), AlphaDivergence()(answer.main, other.main, batch, task)
    )


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_export_makes_the_network_again(tmp_path: Path, context: str) -> None:
    space = evonet_space()
    family = EvoNet(space, [8, 8, 16, 16], [2, 2, 2, 2], stem_dim=8)
    head = UPerNet(family.levels, 5, width=16, side_width=8, context=context)
    net = static_net(family, head, space.smallest()).eval()
    digest = weights.save(tmp_path / MODEL, net.state_dict())
    files.write_json(tmp_path / CONFIG, {"format": FORMAT, "sha256": digest, **describe(net)})
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_exported(tmp_path)(image), net(image))
    trunk = load_backbone(tmp_path)
    for mine, theirs in zip(trunk(image), net.features(image), strict=True):
        assert torch.equal(mine, theirs)
