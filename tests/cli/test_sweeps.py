"""Sweeps by other launchers and sweepers, where they are installed: pip install 'evonas[sweeps]'."""

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from evonas import weights

pytestmark = pytest.mark.slow
SMALL = (
    "+task=synthetic",
    "network=nano",
    "limits=debug",
    "distill=none",
    "data.height=32",
    "data.width=32",
    "data.train=8",
)
SMALL += ("data.validation=4", "network.dims=[8,8,16,16]", "network.heads=[2,2,2,2]", "network.stem_dim=8")
SMALL += ("head.width=8", "train.panel_random=1", "outputs=swept")


def needs(package: str) -> pytest.MarkDecorator:
    # looking for a part of a package that is not there is an error
    found = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{package}")
    return pytest.mark.skipif(not found, reason="needs pip install 'evonas[sweeps]'")


@needs("hydra_joblib_launcher")
def test_jobs_beside_one_another_are_runs_of_their_own(
    tmp_path: Path, evonas_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a job is a new process, which finds evonas where this one does
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path))
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    ended = evonas_command("-m", *SMALL, "stage=pretrain", "seed=1,2", *launcher)
    assert ended.code == 0, ended.err
    first, second = (
        weights.load(path) for path in (tmp_path / "swept").glob("*/pretrain/supernet.safetensors")
    )
    assert any(not first[name].equal(second[name]) for name in first)


@needs("hydra_optuna_sweeper")
def test_a_sweeper_is_told_what_each_job_has_come_to(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    ended = evonas_command(*SMALL, "stage=pretrain", "run=first")
    assert ended.code == 0, ended.err
    sweeper = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1")
    tried = ("stage=supernet", "inputs=first", "train.supernet.lr=tag(log,interval(1e-4,1e-2))")
    ended = evonas_command("-m", *SMALL, *tried, "sampler=uniform", *sweeper)
    assert ended.code == 0, ended.err
    best = yaml.safe_load((tmp_path / "swept/sweeps/optimization_results.yaml").read_text())
    panels = list((tmp_path / "swept").glob("*/supernet/panel.json"))
    assert len(panels) == 2
    means = []
    for path in panels:
        rows = yaml.safe_load(path.read_text())["steps"][-1]["panel"]
        means.append(sum(row["metrics"]["abs_rel"] for row in rows) / len(rows))
    assert best["best_value"] == pytest.approx(min(means))
    assert 1e-4 <= best["best_params"]["train.supernet.lr"] <= 1e-2
