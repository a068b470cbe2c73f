"""SIGKILL of a training: what is continued ends with the weights of the undisturbed one (R12)."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pupil
import pytest
import torch

from evonas.stages.supernet import Supernet

HERE = Path(__file__).parent
STEPS = 10


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    pupil.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def straight(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "run"
    shutil.copytree(prepared, folder)
    Supernet().run(pupil.context(folder))
    return folder


def killed(folder: Path, steps: int, *overrides: str) -> None:
    """Train until a process has taken some steps and is gone."""
    paths = [str(HERE), str(HERE.parent.parent), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, str(HERE / "pupil.py"), str(folder), str(steps), *overrides],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def check(folder: Path, straight: Path, *overrides: str) -> None:
    """Let the training end here; bytes of weights and measurements are those of the undisturbed one."""
    Supernet().run(pupil.context(folder, *overrides))
    for name in ("supernet.safetensors", "panel.json"):
        assert (folder / "supernet" / name).read_bytes() == (straight / "supernet" / name).read_bytes()
    assert list((folder / "supernet/curriculum").iterdir()) == []


def test_two_kills_with_loader_workers(tmp_path: Path, prepared: Path, straight: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder)
    hardware = ("hardware.loader_workers=2", "train.supernet.checkpoint_steps=1")
    killed(folder, 3, *hardware)
    assert (folder / "supernet/curriculum/0-max.state.safetensors").exists()
    killed(folder, 6, *hardware)
    check(folder, straight, "hardware.loader_workers=0")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_kill_after_every_nth_step(
    tmp_path: Path, prepared: Path, straight: Path, workers: int, every: int
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder)
    overrides = (f"hardware.loader_workers={workers}", f"train.supernet.checkpoint_steps={every}")
    # killed before the checkpoint of its own last step, so each process gets `every` steps further
    for _ in range((STEPS - 1) // every):
        killed(folder, every + 1, *overrides)
    check(folder, straight, *overrides)
