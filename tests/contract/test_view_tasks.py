"""Novel views keep the contract of tasks, on rendered scenes and on small trees of true layouts.

A head's numbers only mean something through cameras and splats, so no output is perfect: where the contract
wants one, the tests take Gaussians that stand where the renderer says.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from test_tasks import TaskContract
from torch import Tensor
from trees import posed as tree

from evonas.data.synthetic.views import SyntheticViews
from evonas.data.views.video_windows import Sequences
from evonas.nn.gaussians import GaussianHead
from evonas.tasks.base import Task, best_of
from evonas.tasks.splat import Splat

CELL = 4


class ViewContract(TaskContract):
    """What differs: `true_depth` takes the place of the perfect output."""

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        raise AssertionError(f"no output is perfect for {sorted(batch)}")

    def test_a_perfect_prediction_has_no_error(self, task: Task) -> None:
        """Where the truth itself is scored."""
        assert isinstance(task, Splat)
        batch = self.batch(task)
        from evonas.tasks.view_metrics import view_metrics

        found = view_metrics(batch["target"][0], batch["target"][0])
        assert found["rmse"] == 0 and found["psnr"] == 100 and found["ssim"] == pytest.approx(1, abs=1e-5)

    def test_the_baseline_can_be_beaten(self, task: Task) -> None:
        name, metrics = task.baseline()
        assert name and name.isprintable()
        assert best_of(metrics, task) > 0
        assert metrics.keys() == task.baseline()[1].keys()

    def test_pictures_of_the_truth_match(self, task: Task) -> None:
        batch = self.batch(task)
        for picture in task.pictures(self.output(task, batch), batch):
            assert picture["prediction"].shape == picture["truth"].shape


class TestSyntheticViews(ViewContract):
    def make(self, tmp_path: Path) -> Task:  # noqa: ARG002
        data = SyntheticViews(train=4, validation=3, test=3, height=32, width=64)
        return Splat(data, GaussianHead, name="splat", planes=8, features=4, every=2)

    def test_true_depth_beats_copying_the_nearest_view(self, task: Task) -> None:
        """The geometry as a whole: planes, rays, cameras and splats agree with the renderer."""
        assert isinstance(task, Splat)
        fine = Splat(
            SyntheticViews(test=3, height=32, width=64), GaussianHead, name="splat", planes=256, features=1
        )
        meter, data = fine.meter(), fine.dataset("test")
        for index in range(len(data)):
            item = data[index]
            batch = {key: value[None] for key, value in item.items()}
            meter.update(true_depth(fine, item)[None], batch)
        found = meter.compute()
        assert found["abs_rel"] < 0.15
        assert found["psnr"] > fine.baseline()[1]["psnr"] + 1


class TestVideos(ViewContract):
    def make(self, tmp_path: Path) -> Task:
        if not (tmp_path / "train").exists():
            for number in range(4):
                tree.write_realestate(tmp_path, "train", f"video{number}")
            for number in range(3):
                tree.write_realestate(tmp_path, "test", f"other{number}")
        data = Sequences(
            str(tmp_path), "realestate", height=32, width=64, gap=(3, 6), validation=0.5, targets=2
        )
        return Splat(data, GaussianHead, name="videos", planes=8, features=4, every=2)


def true_depth(task: Splat, item: Mapping[str, Tensor]) -> Tensor:
    """The output that says each cell's depth by one loud plane; all other numbers are zero."""
    near, far = item["range"].tolist()
    depth = item["context_depth"][:, CELL // 2 :: CELL, CELL // 2 :: CELL]
    inverse = torch.where(depth > 0, 1 / depth.clamp(near, far), 1 / far)
    planes = torch.linspace(1 / near, 1 / far, task.layout.planes)
    nearest = (inverse[:, None] - planes[None, :, None, None]).abs().argmin(1)
    loud = 1000.0 * torch.nn.functional.one_hot(nearest, task.layout.planes).permute(3, 1, 0, 2).flatten(2)
    quiet = torch.zeros(task.layout.channels(CELL) - task.layout.planes, *loud.shape[1:])
    return torch.cat([loud, quiet])
