"""Batch-norm statistics of a subnet are its own, whatever the supernet's training mixed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evonas import weights
from evonas.config import build
from evonas.data.loading.batches import calibration
from evonas.errors import UserError
from evonas.nn.bn_calibration import BNCalibration, calibrate_batch_norm
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.supernets.supernet import Supernet, extract
from evonas.train import validation_panel

SPACE = {
    "_target_": "evonas.supernets.evonet.space.evonet_space",
    "name": "tiny",
    "mlp_ratio": [1, 2],
    "d_state": [4, 8],
    "expand": [1, 2],
    "depths": [1, 1, 2, 1],
}
NETWORK = {
    "_target_": "evonas.supernets.evonet.family.EvoNet",
    "dims": [8, 16, 16, 16],
    "heads": [2, 2, 2, 2],
    "stem_dim": 8,
}
TASK = {
    "_target_": "evonas.tasks.depth.Depth",
    "name": "synthetic",
    "max_depth": 20.0,
    "head": {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True, "width": 8},
    "data": {
        "_target_": "evonas.data.synthetic.scenes.SyntheticScenes",
        "train": 6,
        "validation": 2,
        "test": 1,
        "height": 32,
        "width": 32,
    },
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> EvaluationContext:
    path = tmp_path_factory.mktemp("weights") / "supernet.safetensors"
    made = EvaluationContext(SPACE, NETWORK, TASK, path, batch_size=2)
    weights.save(path, Supernet(made.family, made.head).state_dict())
    return EvaluationContext(SPACE, NETWORK, TASK, path, batch_size=2)


def test_statistics_are_plain_averages_over_batches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.01), nn.Dropout(0.5))
    net[0].running_mean.fill_(100.0)
    batches = [torch.randn(4, 3, 5, 5) + 2 for _ in range(3)]
    calibrate_batch_norm(net, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    spreads = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(net[0].running_mean, means)
    assert torch.allclose(net[0].running_var, spreads)
    assert net[0].momentum == 0.01
    assert not any(module.training for module in net.modules())


def test_images_are_chosen_once_and_never_augmented(bench: EvaluationContext) -> None:
    first, again = (calibration(bench.task.dataset("train"), 4, 3) for _ in range(2))
    assert [len(batch) for batch in first] == [4]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first, again, strict=True))
    assert torch.equal(calibration(bench.task.dataset("train"), 3, 3)[0], first[0][:3])
    assert bench.task.dataset("train").augment
    assert calibration(bench.task.dataset("train"), 0, 3) == []
    train = bench.task.dataset("train")
    sizes = {number: [len(batch) for batch in calibration(train, number, 2)] for number in (1, 2, 5, 6)}
    assert sizes == {1: [1], 2: [2], 5: [2, 3], 6: [2, 2, 2]}
    assert [len(batch) for batch in calibration(train, 4, 1)] == [2, 2]
    with pytest.raises(UserError, match="-1"):
        calibration(bench.task.dataset("train"), -1, 3)


def test_the_objective_measures_the_calibrated_subnet(bench: EvaluationContext) -> None:
    genotype, other = bench.space.smallest(), bench.space.largest()
    plain, renewed = Error(), Error(bn_calibration_images=4)
    for each in (plain, renewed):
        each.prepare(bench)
    value = renewed.measure(genotype)[0]
    assert value != plain.measure(genotype)[0]
    renewed.measure(other)
    assert renewed.measure(genotype)[0] == value
    subnet = extract(bench.supernet, genotype)
    calibrate_batch_norm(subnet, calibration(bench.task.dataset("train"), 4, 2))
    scored = validation_panel.score(subnet, bench.task, "holdout", 2, torch.device("cpu"))
    assert value == pytest.approx(scored["abs_rel"], rel=1e-6)


def test_bn_calibration_is_part_of_the_question(bench: EvaluationContext) -> None:
    plain, few, more = (Error(number).identity(bench) for number in (0, 2, 4))
    assert "recalibrate" not in plain
    assert few != more
    assert few["calibration"] == bench.task.dataset("train").manifest()
    made: Any = build({"_target_": "evonas.objectives.error.Error", "recalibrate": 2})
    assert made.identity(bench) == few
    with pytest.raises(UserError, match="got -1"):
        Error(-1)


def test_the_panel_leaves_the_shared_statistics_alone(bench: EvaluationContext) -> None:
    net, task = bench.supernet, bench.task
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    members = [validation_panel.Member("min", bench.space.smallest())]
    images = calibration(task.dataset("train"), 4, 2)
    device = torch.device("cpu")
    mixed = validation_panel.measure(net, members, task, 2, device)
    renewed = validation_panel.measure(net, members, task, 2, device, images)
    assert mixed[0]["metrics"] != renewed[0]["metrics"]
    assert renewed[0]["metrics"]["abs_rel"] == pytest.approx(_measured(bench))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def _measured(bench: EvaluationContext) -> float:
    error = Error(bn_calibration_images=4)
    error.prepare(bench)
    return error.measure(bench.space.smallest())[0]


def test_statistics_are_remembered_by_subnet_and_data(bench: EvaluationContext, tmp_path: Path) -> None:
    images, point = calibration(bench.task.dataset("train"), 4, 2), bench.space.smallest()
    nets = [extract(bench.supernet, point) for _ in range(4)]
    calibrate_batch_norm(nets[0], images)
    BNCalibration(lambda: images, 4, tmp_path, {"data": "a"})(nets[1], "min")
    # no image is looked at again
    BNCalibration(lambda: pytest.fail("there is a file"), 4, tmp_path, {"data": "a"})(nets[2], "min")
    BNCalibration(lambda: images[:1], 2, tmp_path, {"data": "b"})(nets[3], "min")
    states = [net.state_dict() for net in nets]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[3][name]) for name in states[0])
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert not nets[2].training
