"""Surface normals keep the contract of tasks, and are judged in degrees."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from test_tasks import TaskContract
from torch import Tensor
from torch.utils.data import default_collate

from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.nn.heads import DenseHead
from evonas.tasks.normals import Normals


def normals() -> Normals:
    data = SyntheticScenes(train=6, validation=3, test=3, height=32, width=64, normals=True)
    return Normals(data, DenseHead, "normals")


class TestNormals(TaskContract):
    def make(self, tmp_path: Path) -> Normals:  # noqa: ARG002
        return normals()

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["normals"].clone()


def test_a_known_turn_is_the_error_in_degrees() -> None:
    task = normals()
    data = task.dataset("test")
    batch = default_collate([data[0], data[1]])
    meter, turn = task.meter(), math.radians(20)
    # turned about an axis at right angles to each normal
    axis = torch.linalg.cross(batch["normals"], torch.tensor([1.0, 0.2, 0.3]).view(1, 3, 1, 1), dim=1)
    axis = axis / axis.norm(dim=1, keepdim=True).clamp_min(1e-6)
    turned = math.cos(turn) * batch["normals"] + math.sin(turn) * torch.linalg.cross(
        axis, batch["normals"], dim=1
    )
    # only the direction counts
    meter.update(3 * turned, batch)
    assert meter.compute() == {"angle": pytest.approx(20, abs=0.02), "within_11": 0}


def test_the_mean_normal_is_a_baseline_that_knows_the_ground() -> None:
    name, metrics = normals().baseline()
    assert name == "the mean normal"
    assert 10 < metrics["angle"] < 60
