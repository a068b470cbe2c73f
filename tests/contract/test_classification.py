"""Classification keeps the promises of every task."""

from collections.abc import Mapping
from pathlib import Path

import torch
from test_tasks import TaskContract
from torch import Tensor

from evonas.data.base import Source
from evonas.data.shapes import Shapes
from evonas.nn.classifier import Classifier
from evonas.tasks.base import Task
from evonas.tasks.classification import Classification


class TestShapes(TaskContract):
    def make(self, tmp_path: Path) -> Task:  # noqa: ARG002
        return Classification(
            Shapes(train=12, holdout=11, test=20, height=32, width=32), Classifier, name="shapes"
        )

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return 20.0 * torch.nn.functional.one_hot(batch["label"], 10)


def test_shapes_are_a_source() -> None:
    assert isinstance(Shapes(), Source)
