"""What every task promises, checked through the `Task` protocol alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from evonas.data.base import SPLITS, Source
from evonas.data.segmentation.camvid import CLASSES, CamVid
from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.tasks.base import Meter, Task, best_of
from evonas.tasks.depth import Depth
from evonas.tasks.segmentation import Segmentation

LEVELS = (Level(8, 4), Level(16, 8), Level(16, 16), Level(24, 32))


class TaskContract(ABC):
    """Subclass, give a task with small data and what a perfect network would put out."""

    tolerance: ClassVar[float] = 1e-4

    @abstractmethod
    def make(self, tmp_path: Path) -> Task:
        """The task; called anew in every test."""

    @abstractmethod
    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The output that scores no error."""

    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        return self.make(tmp_path)

    def batch(self, task: Task, split: str = "holdout", size: int = 2) -> dict[str, Tensor]:
        data = task.dataset(split)
        return default_collate([data[i] for i in range(size)])

    def output(self, task: Task, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """What a head with random weights makes of random features."""
        random = torch.Generator().manual_seed(seed)
        height, width = task.input_size
        features = [
            torch.randn(
                len(batch["image"]), v.channels, height // v.stride, width // v.stride, generator=random
            )
            for v in LEVELS
        ]
        return task.head(LEVELS)(features)

    def test_it_is_a_task(self, task: Task) -> None:
        assert isinstance(task, Task)
        assert isinstance(task.meter(), Meter)
        assert task.name

    def test_images_have_the_stated_size(self, task: Task) -> None:
        for split in SPLITS:
            image = self.batch(task, split)["image"]
            assert tuple(image.shape) == (2, 3, *task.input_size)
            assert image.dtype == torch.float32
            assert torch.isfinite(image).all()
            # normalised: a picture in [0, 255] or [0, 1] would not have negative values as well
            assert image.min() < 0 < image.max() < 4

    def test_losses_are_finite_and_have_a_slope(self, task: Task) -> None:
        batch = self.batch(task, "train")
        output, other = self.output(task, batch), self.output(task, batch, seed=1).detach()
        for loss in (task.loss(output, batch), task.distillation_loss(output, other, batch)):
            assert loss.shape == ()
            assert math.isfinite(float(loss)) and float(loss) > 0
            (slope,) = torch.autograd.grad(loss, output, retain_graph=True)
            assert torch.isfinite(slope).all()
            assert float(slope.abs().max()) > 0

    def test_teachers_get_no_slope(self, task: Task) -> None:
        batch = self.batch(task, "train")
        teacher = self.output(task, batch, seed=1)
        loss = task.distillation_loss(self.output(task, batch), teacher, batch)
        assert torch.autograd.grad(loss, teacher, allow_unused=True) == (None,)

    def test_a_step_against_the_slope_lowers_the_loss(self, task: Task) -> None:
        batch = self.batch(task, "train")
        output = self.output(task, batch).detach().requires_grad_()
        before = task.loss(output, batch)
        (slope,) = torch.autograd.grad(before, output)
        after = task.loss(output - 1e-2 * slope / slope.abs().max(), batch)
        assert float(after) < float(before)

    def test_a_perfect_prediction_has_no_error(self, task: Task) -> None:
        meter = task.meter()
        for split in ("holdout", "test"):
            batch = self.batch(task, split)
            meter.update(self.perfect(batch), batch)
            assert float(task.loss(self.perfect(batch), batch)) < 1e-2
        assert best_of(meter.compute(), task) == pytest.approx(0, abs=self.tolerance)

    def test_worse_is_larger(self, task: Task) -> None:
        batch = self.batch(task)
        meter = task.meter()
        meter.update(self.output(task, batch), batch)
        assert best_of(meter.compute(), task) > 0.05

    def test_neither_order_nor_batch_size_matters_to_the_meter(self, task: Task) -> None:
        items = [default_collate([item]) for item in task.dataset("holdout")]
        outputs = [self.output(task, item, seed).detach() for seed, item in enumerate(items)]
        forward, backward, whole = task.meter(), task.meter(), task.meter()
        for output, item in zip(outputs, items, strict=True):
            forward.update(output, item)
        for output, item in reversed(list(zip(outputs, items, strict=True))):
            backward.update(output, item)
        together = {key: torch.cat([item[key] for item in items]) for key in items[0]}
        whole.update(torch.cat(outputs), together)
        assert forward.compute() == backward.compute() == whole.compute()

    def test_metrics_are_plain_finite_floats(self, task: Task) -> None:
        batch = self.batch(task)
        meter = task.meter()
        meter.update(self.output(task, batch), batch)
        metrics = meter.compute()
        assert task.error_name in metrics
        assert all(type(value) is float and math.isfinite(value) for value in metrics.values())

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_diverged_network_has_no_score(self, task: Task, value: float) -> None:
        """One element of one image is enough, and later batches do not heal it."""
        batch = self.batch(task)
        meter, output = task.meter(), self.output(task, batch)
        broken = output.clone()
        broken[(-1,) * broken.ndim] = value
        meter.update(broken, batch)
        meter.update(output, batch)
        found = meter.compute()
        assert task.error_name in found and all(math.isnan(each) for each in found.values())

    def test_splits_do_not_overlap(self, task: Task) -> None:
        seen: dict[bytes, str] = {}
        for split in SPLITS:
            data = task.dataset(split)
            data.augment = False
            for item in data:
                assert seen.setdefault(item["image"].numpy().tobytes(), split) == split
        assert len({task.dataset(split).manifest() for split in SPLITS}) == len(SPLITS)

    def test_items_are_the_same_every_time(self, task: Task, tmp_path: Path) -> None:
        again = self.make(tmp_path / "again")
        for split in SPLITS:
            first, second = task.dataset(split), again.dataset(split)
            assert len(first) == len(second)
            assert first.manifest() == second.manifest()
            for index in reversed(range(len(first))):
                one, two = first[index], second[index]
                assert one.keys() == two.keys()
                assert all(torch.equal(one[key], two[key]) for key in one)

    def test_augmentation_follows_the_epoch_and_only_on_train(self, task: Task) -> None:
        for split in SPLITS:
            data, other = task.dataset(split), task.dataset(split)
            data.set_epoch(3)
            assert data.augment is (split == "train")
            changed = [not torch.equal(data[i]["image"], other[i]["image"]) for i in range(len(data))]
            assert any(changed) is (split == "train")
            data.set_epoch(0)
            assert torch.equal(data[1]["image"], other[1]["image"])

    def test_augmentation_can_be_switched_off(self, task: Task) -> None:
        data = task.dataset("train")
        data.augment = False
        still = [data[i]["image"] for i in range(len(data))]
        data.set_epoch(5)
        assert all(torch.equal(image, data[i]["image"]) for i, image in enumerate(still))
        assert task.dataset("train").augment is True

    def test_items_can_be_changed_without_harm(self, task: Task) -> None:
        for split in ("train", "test"):
            data = task.dataset(split)
            data.augment = False
            kept = {key: value.clone() for key, value in data[0].items()}
            for value in data[0].values():
                value.zero_()
            assert all(torch.equal(data[0][key], kept[key]) for key in kept)

    def test_the_baseline_can_be_beaten(self, task: Task) -> None:
        name, metrics = task.baseline()
        assert name and name.isprintable()
        meter, data = task.meter(), task.dataset("test")
        for item in data:
            batch = default_collate([item])
            meter.update(self.perfect(batch), batch)
        assert best_of(metrics, task) > best_of(meter.compute(), task) + 0.05
        assert metrics.keys() == task.baseline()[1].keys()

    def test_pictures(self, task: Task) -> None:
        batch = self.batch(task)
        pictures = task.pictures(self.output(task, batch), batch)
        assert len(pictures) == 2
        for picture in pictures:
            assert list(picture) == ["image", "truth", "prediction"]
            for array in picture.values():
                assert array.dtype == np.uint8
                assert array.ndim == 3 and array.shape[2] == 3
                assert array.std() > 0
            assert picture["image"].shape[:2] == task.input_size
            assert picture["truth"].shape == picture["prediction"].shape

    def test_pictures_of_the_truth_match(self, task: Task) -> None:
        batch = self.batch(task)
        for picture in task.pictures(self.perfect(batch), batch):
            known = picture["truth"].any(axis=-1)
            np.testing.assert_array_equal(picture["truth"][known], picture["prediction"][known])


def scenes() -> SyntheticScenes:
    return SyntheticScenes(train=6, validation=3, test=3, height=32, width=64)


def one_hot(batch: Mapping[str, Tensor], classes: int) -> Tensor:
    known = torch.where(batch["classes"] < classes, batch["classes"], 0)
    return 20.0 * torch.nn.functional.one_hot(known, classes).permute(0, 3, 1, 2)


class TestDepth(TaskContract):
    def make(self, tmp_path: Path) -> Task:  # noqa: ARG002
        return Depth(scenes(), DenseHead, max_depth=20.0, name="synthetic")

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["depth"].clone()


class TestSegmentationOfScenes(TaskContract):
    def make(self, tmp_path: Path) -> Task:  # noqa: ARG002
        return Segmentation(scenes(), DenseHead, classes=SyntheticScenes.classes, name="scenes")

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return one_hot(batch, len(SyntheticScenes.classes))


class TestCamVid(TaskContract):
    """Masks are larger than the network's images, as on the real data."""

    def make(self, tmp_path: Path) -> Task:
        number = 0
        for folder, count in (("train", 4), ("val", 3), ("test", 3)):
            for kind in (folder, f"{folder}annot"):
                (tmp_path / kind).mkdir(parents=True)
            for _ in range(count):
                self.write(tmp_path, folder, number)
                number += 1
        data = CamVid(str(tmp_path), height=32, width=64)
        return Segmentation(data, DenseHead, classes=CLASSES, name="camvid")

    def write(self, root: Path, folder: str, number: int) -> None:
        random = np.random.default_rng(number)
        mask = np.repeat(np.repeat(random.integers(0, 12, (5, 8)), 9, 0), 10, 1).astype(np.uint8)
        noise = random.integers(0, 20, (*mask.shape, 3))
        image = (mask[..., None] * 20 + noise).astype(np.uint8)
        Image.fromarray(image).save(root / folder / f"{number:04}.png")
        Image.fromarray(mask).save(root / f"{folder}annot" / f"{number:04}.png")

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return one_hot(batch, len(CLASSES))


@pytest.mark.parametrize("source", [scenes(), CamVid("nowhere")], ids=["synthetic", "camvid"])
def test_sources_are_sources(source: Source) -> None:
    assert isinstance(source, Source)
