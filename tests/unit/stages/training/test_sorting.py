"""Channels are sorted when the whole model is trained, and the whole model stays what it was."""

from pathlib import Path

import pytest
import small_stages
import torch
from hydra import compose, initialize_config_dir

from evonas import schema, weights
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import complete
from evonas.stages.pretrain import PRETRAINED, Pretrain, has_trained_head
from evonas.stages.supernet import Supernet
from evonas.stages.training.sorting import sort_by_losses
from evonas.supernets.elastic_timm.order import norm_scores

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = (
    "+task=synthetic",
    "network=timm",
    "network.name=test_resnet",
    "data.height=32",
    "data.width=32",
    "data.train=8",
    "data.validation=2",
    "data.test=1",
    "train.panel_random=0",
    "train.supernet.batch_size=4",
    "limits.max_epochs=1",
    "distill=none",
)


def context(folder: Path, *more: str) -> Context:
    schema.register()
    with initialize_config_dir(str(small_stages.CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*OPTIONS, *more])
    complete(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    return Context(cfg, Run(folder, "synthetic"))


def trained(made: Context):
    Pretrain().run(made)
    Supernet().run(made)
    net = factory.supernet(made.setup)
    factory.load_into(net, made.run.path(factory.SUPERNET))
    return net.eval()


def is_sorted(net) -> bool:
    scores = norm_scores(net.family.structure, net.backbone.net)
    return all((score.diff() <= 1e-4 * score.max()).all() for score in scores)


@pytest.mark.parametrize("sampler", ["largest", "pst_timm"])
def test_the_whole_model_alone_is_sorted_after_it_was_trained(tmp_path: Path, sampler: str) -> None:
    # the other curriculum keeps the order that weights were adopted in
    assert is_sorted(trained(context(tmp_path, f"sampler={sampler}"))) == (sampler == "largest")


def test_without_an_order_nothing_is_sorted(tmp_path: Path) -> None:
    assert not is_sorted(trained(context(tmp_path, "sampler=largest", "network.order=none")))


@pytest.mark.parametrize(
    ("order", "model"),
    [("norm", "test_resnet"), ("taylor", "test_resnet"), ("centred", "test_vit"), ("rotated", "test_vit")],
)
def test_the_largest_subnet_stays_what_it_was(tmp_path: Path, order: str, model: str) -> None:
    made = context(tmp_path, f"network.order={order}", f"network.name={model}")
    net = factory.supernet(made.setup).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    corners = net.space.largest(), net.space.smallest()

    def outputs() -> list[torch.Tensor]:
        with torch.no_grad():
            return [net(images, corner) for corner in corners]

    whole, cut = outputs()
    sort_by_losses(net, made.setup.task, 4, is_final=True)
    same, other = outputs()
    assert torch.allclose(same, whole, atol=1e-4) and not torch.allclose(other, cut, atol=1e-4)
    assert any(not torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not net.training and all(each.grad is None for each in net.parameters())


@pytest.mark.parametrize("order", ["norm", "taylor"])
def test_untrained_supernets_are_sorted_by_losses_alone(tmp_path: Path, order: str) -> None:
    made = context(tmp_path, "sampler=none", f"network.order={order}")
    net, start = trained(made), weights.load(made.run.path(PRETRAINED))
    is_same = all(torch.equal(start[name], tensor) for name, tensor in net.state_dict().items())
    assert is_same == (order == "norm")


def test_an_untrained_head_is_remembered(tmp_path: Path) -> None:
    first = context(tmp_path / "first", "sampler=largest")
    net = trained(first)
    drawn, file = first.run.path(PRETRAINED), first.run.path(factory.SUPERNET)
    assert not has_trained_head(drawn) and has_trained_head(file)
    headless = tmp_path / "headless.safetensors"
    weights.save(headless, {name: each for name, each in net.state_dict().items() if "head" not in name})
    for at, (given, is_trained) in enumerate([(drawn, False), (file, True), (headless, False)]):
        made = context(tmp_path / str(at))
        Pretrain(weights=str(given)).run(made)
        assert has_trained_head(made.run.path(PRETRAINED)) == is_trained
