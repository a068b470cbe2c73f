"""Stages through the queue of submitit, in its local form, which starts jobs as SLURM would."""

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from evonas import weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("submitit") is None, reason="needs pip install 'evonas[slurm]'"),
]
LAUNCHER = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queued job is a new process, which finds evonas where this one does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path))


def test_each_job_of_a_sweep_is_a_run_made_by_the_queue(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    small = ("+task=synthetic", "stage=pretrain", "limits=debug", "data.train=4")
    ended = evonas_command("-m", *small, "seed=0,1", "outputs=queued", *LAUNCHER)
    assert ended.code == 0, ended.err
    made = sorted((tmp_path / "queued").glob("*/pretrain/supernet.safetensors"))
    assert len(made) == 2
    first, second = (weights.load(path) for path in made)
    assert any(not first[name].equal(second[name]) for name in first)
    logs = list((tmp_path / "queued/sweeps/.submitit").glob("*/*_log.out"))
    assert len(logs) == 2 and all("Starting weights from seed" in log.read_text() for log in logs)


def test_a_job_that_fails_in_the_queue_fails_the_command(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    ended = evonas_command("-m", "+task=synthetic", "stage=select", "run=empty", "outputs=queued", *LAUNCHER)
    assert ended.code == 2
    [log] = (tmp_path / "queued/sweeps/.submitit").glob("*/*_log.err")
    assert "stage=search" in log.read_text()
