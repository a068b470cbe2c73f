"""KITTI and NYU keep the contract of tasks on small trees of their true layouts."""

from collections.abc import Mapping
from pathlib import Path

from test_tasks import TaskContract
from torch import Tensor
from trees import kitti, nyu

from evonas.data.depth.kitti import Kitti
from evonas.data.depth.nyu import Nyu
from evonas.nn.heads import DenseHead
from evonas.tasks.base import Task
from evonas.tasks.depth import Depth


class TestKitti(TaskContract):
    def make(self, tmp_path: Path) -> Task:
        root = tmp_path / "kitti"
        if not root.exists():
            kitti.write(root, images=15, height=40, width=80)
        data = Kitti(str(root), lists=str(root / "lists"), height=32, width=64)
        return Depth(data, DenseHead, max_depth=80.0, name="kitti", crop="garg", flip_test=True)

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["depth"].clone()


class TestNyu(TaskContract):
    def make(self, tmp_path: Path) -> Task:
        root = tmp_path / "nyu"
        if not root.exists():
            nyu.write(root, images=15, height=32, width=64)
        data = Nyu(str(root), height=32, width=64, border=None)
        return Depth(data, DenseHead, max_depth=10.0, name="nyu", flip_test=True)

    def perfect(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["depth"].clone()
