"""A detector's training goes on bit for bit, although it draws the regions that it learns from."""

from functools import partial
from pathlib import Path

import pytest
import torch
from small_training import StopError, equal, stopping_at
from trees import coco

from evonas.data.detection.coco import Coco
from evonas.nn.detection.rcnn import RCNN
from evonas.nn.necks.fpn import FPN
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet
from evonas.tasks.detection import Detection
from evonas.train.distillation.inplace import InPlaceDistillation
from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.data import TrainingData
from evonas.train.module import SupernetModule
from evonas.train.optim.lr_schedule import Schedule

STEPS = 3
pytestmark = pytest.mark.usefixtures("one_thread")


class Sandwich:
    """The largest subnet, then the smallest."""

    def __init__(self, *genotypes: Genotype) -> None:
        self._genotypes = list(genotypes)

    def genotypes(self, step: int) -> list[Genotype]:  # noqa: ARG002
        return self._genotypes


def made(task: Detection) -> SupernetModule:
    space = evonet_space(name="t", mlp_ratio=[0.5, 1], d_state=[8, 16], expand=[0.5, 1], depths=[1, 1, 2, 1])
    family = EvoNet(space, dims=[8, 8, 16, 16], heads=[2, 2, 2, 2], stem_dim=8)
    net = Supernet(family, task.head(family.levels))
    schedule = Schedule(STEPS, 0, 1e-3, 1e-3, 1e-3)
    sampler = Sandwich(space.largest(), space.smallest())
    return SupernetModule(net, sampler, task, schedule, 0, lesson=InPlaceDistillation("first", ratio=0.5))


def test_a_stopped_detector_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    small = partial(
        RCNN, neck=partial(FPN, out_channels=8), hidden=16, proposals=20, training_proposals=20, samples=16
    )
    data = Coco(str(coco.write(tmp_path / "coco", train=8)), 64, 64, validation=0.25)
    task = Detection(data, small, "coco")

    def train(state: Resumable | None = None, stop: int = 0) -> SupernetModule:
        module = made(task)
        fit(module, TrainingData(task.dataset("train"), 2, 0), 1, Devices(), state, stopping_at(stop))
        return module

    straight, path = train(), tmp_path / "state.safetensors"
    with pytest.raises(StopError):
        train(Resumable(path, {}, True, 1), stop=2)
    torch.manual_seed(99)
    assert equal(train(Resumable(path, {}, True, 1)), straight)
