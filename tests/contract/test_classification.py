"""Classification keeps the promises of every task."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from test_tasks import TaskContract
from torch import Tensor

from evonas.data.base import Source
from evonas.data.classification.augment import Views
from evonas.data.classification.imagefolder import ImageFolder
from evonas.data.synthetic.shapes import Shapes
from evonas.nn.classifier import Classifier
from evonas.tasks.base import Task
from evonas.tasks.classification import Classification


class TestShapes(TaskContract):
    def make(self, tmp_path: Path) -> Task:  # noqa: ARG002
        return Classification(
            Shapes(train=12, validation=11, test=20, height=32, width=32), Classifier, name="shapes"
        )

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return 20.0 * torch.nn.functional.one_hot(batch["label"], 10)


def test_shapes_are_a_source() -> None:
    assert isinstance(Shapes(), Source)


class TestImageFolder(TaskContract):
    """With everything that augments: RandAugment, erasing, mixup and cutmix."""

    def make(self, tmp_path: Path) -> Task:
        random = np.random.default_rng(0)
        for part, count in (("train", 6), ("val", 3)):
            for name in ("ant", "bee"):
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    pixels = np.kron(random.integers(0, 255, (4, 5, 3)), np.ones((10, 10, 1))).astype(
                        np.uint8
                    )
                    Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.jpg", quality=95)
        views = Views(size=32, resize=36)
        return Classification(
            ImageFolder(str(tmp_path), 2, views, validation=0.3), Classifier, name="folders"
        )

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return 20.0 * torch.nn.functional.one_hot(batch["label"], 2)
