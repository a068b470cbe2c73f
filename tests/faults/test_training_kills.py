"""SIGKILL of a training: what is continued ends with the weights of the undisturbed one (R12)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pupil
import pytest

from evonas.stages.supernet import Supernet

HERE = Path(__file__).parent
STEPS = 10
pytestmark = pytest.mark.usefixtures("one_thread")


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


def killed(folder: Path, steps: Sequence[int], *overrides: str) -> list[list[str]]:
    """Kill one process after each number of its own steps; what each left of the curriculum."""
    paths = [str(HERE), str(HERE.parent), str(HERE.parent.parent), *filter(None, sys.path)]
    said, lives = folder.with_name("said.txt"), ",".join(map(str, steps))
    with said.open("w") as file:
        # no pipe: loader workers that outlive their process for seconds would hold it open
        done = subprocess.run(
            [sys.executable, str(HERE / "pupil.py"), str(folder), lives, *overrides],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
    assert done.returncode == 0, said.read_text()
    lines = [line.split() for line in said.read_text().splitlines()]
    return [names for names in lines if names and all(name.endswith(".safetensors") for name in names)]


def check(folder: Path, straight: Path, *overrides: str) -> None:
    """Let the training end here; bytes of weights and measurements are those of the undisturbed one."""
    Supernet().run(pupil.context(folder, *overrides))
    for name in ("supernet.safetensors", "panel.json"):
        assert (folder / "supernet" / name).read_bytes() == (straight / "supernet" / name).read_bytes()
    assert list((folder / "supernet/curriculum").iterdir()) == []


@pytest.mark.slow
def test_two_kills_with_loader_workers(tmp_path: Path, prepared: Path, straight: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder)
    hardware = ("hardware.loader_workers=2", "train.supernet.checkpoint_steps=1")
    first, second = killed(folder, [3, 6], *hardware)
    assert "0-max.state.safetensors" in first
    assert "1-depth.state.safetensors" in second
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
    killed(folder, [every + 1] * ((STEPS - 1) // every), *overrides)
    check(folder, straight, *overrides)
