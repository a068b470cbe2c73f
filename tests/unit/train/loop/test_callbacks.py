"""debug=anomaly and debug=profile: a NaN is named where it is born, and time where it is spent."""

from pathlib import Path

import pytest
import torch
from small_stages import composed
from small_training import Noise, taught
from torch import Tensor

from evonas.stages.build import factory
from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.data import TrainingData
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Schedule

pytestmark = pytest.mark.usefixtures("one_thread")


def module() -> SubnetModule:
    return taught(Schedule(10, 1, 0.05, 0.001, 0.0), 0)


def test_a_nan_is_named_by_its_operation() -> None:
    made = module()

    def broken(output: Tensor, _batch: object) -> Tensor:
        # the slope of the root is infinite there, and times zero
        return torch.sqrt(output * 0).sum()

    made.task.loss = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"MulBackward0.*nan"):
        fit(made, TrainingData(Noise(8), 4, 0, 0), 1, Devices(detect_anomaly=True))
    assert not torch.is_anomaly_enabled()


def test_a_profile_lies_beside_the_state(tmp_path: Path) -> None:
    state = Resumable(tmp_path / "state.safetensors", {}, resume=False)
    fit(module(), TrainingData(Noise(8), 4, 0, 0), 1, Devices(profile=True), state)
    [table] = tmp_path.iterdir()
    assert table.name == "fit-profile.txt" and "run_training_batch" in table.read_text()


@pytest.mark.parametrize("name", ["anomaly", "profile"])
def test_the_preset_reaches_the_training(name: str) -> None:
    devices = factory.devices(composed(f"+debug={name}"))
    assert (devices.detect_anomaly, devices.profile) == (name == "anomaly", name == "profile")
    assert factory.devices(composed()) == Devices()
