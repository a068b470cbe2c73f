"""The trackers of a stage: several at once, metrics.csv always, and what each is told of the command."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from evonas import cli_args, schema
from evonas.errors import UserError
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.tracking import check_trackers, chosen, described, trackers
from evonas.track.base import GuardedTracker, Silent
from evonas.track.mlflow import _store


def config(root: Path, *words: str) -> DictConfig:
    """What the command line makes of these words."""
    schema.register()
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        return compose("config", overrides=cli_args.overrides(cli_args.rewrite(["+task=synthetic", *words])))


def names(cfg: DictConfig) -> list[str]:
    return [str(node["_target_"]).rpartition(".")[2].rpartition("/")[2] for node in chosen(cfg)]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], ["csv"]),
        (["tracker=none"], []),
        (["tracker=wandb"], ["csv", "WandbTracker"]),
        (["tracker=[wandb,tensorboard]"], ["csv", "WandbTracker", "TensorBoardTracker"]),
        (["tracker=[none,tensorboard]"], ["csv", "TensorBoardTracker"]),
        (["tracker=[csv]"], ["csv"]),
        (["tracker=[]"], []),
    ],
)
def test_which_trackers_a_command_has(words: list[str], wanted: list[str], root: Path) -> None:
    assert names(config(root, *words)) == wanted


def test_each_of_several_has_its_own_settings(root: Path) -> None:
    cfg = config(
        root, "tracker=[mlflow,wandb]", "tracker.experiment=mine", "more_trackers.wandb.project=ours"
    )
    assert (cfg.tracker.experiment, cfg.more_trackers.wandb.project) == ("mine", "ours")


def test_a_later_command_chooses_all_of_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evonas import files

    monkeypatch.chdir(tmp_path)
    identity = dict.fromkeys(("created", "task", "seed", "space", "network", "data"), "any")
    files.write_json(tmp_path / "outputs/a/run.json", identity)
    first = cli_args.rewrite(["+task=synthetic", "tracker=[wandb,tensorboard]"])
    files.write_text(
        tmp_path / "outputs/a/attempts/001/overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(first))
    )
    assert "+tracker@more_trackers.tensorboard=tensorboard" in cli_args.rewrite(["run=a", "stage=search"])
    assert not [word for word in cli_args.rewrite(["run=a", "tracker=csv"]) if "tensorboard" in word]


def test_settings_are_told_without_secrets(root: Path) -> None:
    cfg = config(root, "seed=7", "budget.evaluations=99")
    OmegaConf.set_struct(cfg, False)
    cfg.task.note = "password=SECRETxyz"
    told = described(cfg, "mine", "search")
    assert (told["seed"], told["budget.evaluations"], told["run"], told["stage"]) == (7, 99, "mine", "search")
    assert any(key.startswith("search.") for key in told) and "SECRETxyz" not in str(told)


def test_metrics_are_written_beside_another_tracker(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX")
    monkeypatch.chdir(tmp_path)
    context = Context(config(root, "tracker=tensorboard", "seed=3"), Run(tmp_path / "outputs/a", "synthetic"))
    with trackers(context, "search", context.run.path("search/metrics.csv").parent) as group:
        group.scalars(1, {"hypervolume": 0.5})
    folder = tmp_path / "outputs/a/search"
    assert "1,hypervolume,0.5" in (folder / "metrics.csv").read_text(encoding="utf-8")
    [events] = folder.glob("events.out.tfevents.*")
    assert b"hypervolume" in events.read_bytes() and b"|seed|3|" in events.read_bytes()


def test_wandb_has_one_run_a_stage_with_its_settings(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    context = Context(config(root, "tracker=wandb", "seed=3"), Run(tmp_path / "outputs/a", "synthetic"))
    folder = context.run.path("search/metrics.csv").parent
    with trackers(context, "search", folder) as group:
        for step in range(50):
            group.scalars(step, {"hypervolume": 0.5})
        group.artifact("archive", [folder / "metrics.csv"])
    wandb.teardown()
    [written] = folder.rglob("*.wandb")
    content = written.read_bytes()
    assert b"budget.evaluations" in content and b"a-archive" in content
    assert content.count(b"hypervolume") >= 50


class Slow(Silent):
    """Takes its time for every entry."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        time.sleep(0.05 + 0 * len(values))
        self.kept.append(step)


def test_patience_grows_with_what_is_queued(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    guarded = GuardedTracker(slow, patience=0.2)
    for step in range(12):
        guarded.scalars(step, {})
    guarded.close()
    assert slow.kept == list(range(12)) and not caplog.records


def test_what_is_lost_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Slow):
        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            time.sleep(1.0 + 0 * step * len(values))

    guarded = GuardedTracker(Stuck(), patience=0.1)
    for step in range(5):
        guarded.scalars(step, {})
    guarded.close()
    [record] = caplog.records
    assert "4 of its entries are lost" in record.getMessage() and "tracker_patience_s" in record.getMessage()


class Unwritable(Silent):
    """Cannot reach its store."""

    def __init__(self, folder: Path, run: str, stage: str) -> None:
        self.described = (folder, run, stage)

    def describe(self, settings: Mapping[str, Any]) -> None:
        raise ConnectionError(f"no store for {len(settings)} settings")


def test_a_store_that_cannot_be_written_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        guarded = GuardedTracker(Unwritable(tmp_path, "a", "search"), settings={"seed": 1})
        deadline = time.monotonic() + 5
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    # nothing was logged yet, and nothing closed
    assert "switched off: ConnectionError: no store" in caplog.records[0].getMessage()
    guarded.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_at_the_start(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "outputs/a/search"
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    context = Context(config(root), Run(tmp_path / "outputs/a", "synthetic"))
    with trackers(context, "search", folder) as group:
        assert not group.trackers and "cannot write" in caplog.text


def test_a_missing_package_is_told_before_any_stage(root: Path) -> None:
    cfg = config(root, "tracker=mlflow")
    try:
        import mlflow  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="needs the package mlflow"):
            check_trackers(cfg)
    else:
        check_trackers(cfg)


def test_one_store_for_all_stages_and_runs(tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / run / "retrain/knee").mkdir(parents=True)
        (tmp_path / run / "run.json").touch()
    found = {_store(tmp_path / each) for each in ("a/search", "a/retrain/knee", "b/search")}
    assert found == {tmp_path}
