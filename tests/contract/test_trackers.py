"""Every tracker of conf/tracker keeps the contract of evonas/track/base.py."""

import csv
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from evonas.track.base import ArtifactTracker, Chart, GuardedTracker, Results, Silent, Tracker
from evonas.track.csv import CsvTracker
from evonas.track.mlflow import MLflowTracker
from evonas.track.tensorboard import TensorBoardTracker
from evonas.track.wandb import WandbTracker

Make = Callable[[Path], Tracker]


def make_wandb(folder: Path) -> Tracker:
    pytest.importorskip("wandb")
    return WandbTracker(folder, "run-a", "search")


def make_tensorboard(folder: Path) -> Tracker:
    pytest.importorskip("tensorboardX")
    return TensorBoardTracker(folder, "run-a", "search")


def make_mlflow(folder: Path) -> Tracker:
    pytest.importorskip("mlflow")
    return MLflowTracker(folder, "run-a", "search")


TRACKERS: dict[str, Make] = {
    "none": lambda folder: Silent(folder, "run-a", "search"),
    "csv": lambda folder: CsvTracker(folder, "run-a", "search"),
    "wandb": make_wandb,
    "tensorboard": make_tensorboard,
    "mlflow": make_mlflow,
}


@pytest.fixture(params=TRACKERS)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    if request.param == "wandb":
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_SILENT", "true")
    return TRACKERS[request.param]


def test_it_listens_and_closes_twice(make: Make, tmp_path: Path) -> None:
    tracker = make(tmp_path)
    assert isinstance(tracker, Tracker)
    tracker.scalars(0, {"loss": 0.5, "rate": 1e-3})
    tracker.scalars(3, {"loss": 0.25})
    tracker.close()
    tracker.close()


def test_it_says_nothing_about_the_machine_or_its_secrets(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "SECRETxyz" + "0" * 31)
    tracker = make(tmp_path)
    tracker.scalars(0, {"loss": 0.5})
    tracker.close()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"SECRETxyz" not in path.read_bytes()


def test_wandb_offline_keeps_the_numbers_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = make_wandb(tmp_path)
    tracker.scalars(0, {"holdout/abs_rel": 0.5})
    tracker.close()
    # the writer is a process of its own, which may still hold the last block
    wandb.teardown()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.wandb"))
    assert b"holdout/abs_rel" in written and b"run-a-search" in written


def test_wandb_offline_keeps_tables_panels_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "search").mkdir()
    (tmp_path / "search/archive.sqlite").write_bytes(b"facts")
    tracker = WandbTracker(tmp_path, "run-a", "search", artifacts=["archive"])
    assert isinstance(tracker, ArtifactTracker)
    front = Chart("error against macs", "macs", "error")
    tracker.table(Results("evaluations", ["genotype", "error", "macs"], [["a", 0.5, 3.0]], [front]))
    tracker.artifact("archive", [tmp_path / "search/archive.sqlite"])
    tracker.artifact("checkpoint", [tmp_path / "this one is not asked for, and not looked at"])
    tracker.close()
    wandb.teardown()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.wandb"))
    for each in (b"run-a-archive", b"search/archive.sqlite", b"evaluations/error against macs"):
        assert each in written
    assert b"checkpoint" not in written
    [table] = tmp_path.rglob("media/table/evaluations_*.table.json")
    assert json.loads(table.read_text())["data"] == [["a", 0.5, 3.0]]


def test_tensorboard_has_the_names_of_the_others(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    tracker = make_tensorboard(tmp_path)
    tracker.scalars(7, {"holdout/abs_rel": 0.5})
    tracker.close()
    [path] = tmp_path.glob("events.out.tfevents.*")
    content, found = path.read_bytes(), []
    while content:
        # a record: its length in 8 bytes, a checksum of 4, itself, and another checksum of 4
        size = int.from_bytes(content[:8], "little")
        found.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    told = [(each.step, value.tag, value.simple_value) for each in found for value in each.summary.value]
    assert told == [(7, "holdout/abs_rel", 0.5)]


def test_mlflow_goes_on_with_the_same_run(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    for step in (0, 1):
        tracker = make_mlflow(tmp_path)
        tracker.scalars(step, {"hypervolume": 0.25 + step})
        tracker.close()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [experiment] = [each for each in client.search_experiments() if each.name == "evonas"]
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.tags["run"] == "run-a" and run.data.tags["stage"] == "search"
    history = client.get_metric_history(run.info.run_id, "hypervolume")
    assert [(each.step, each.value) for each in history] == [(0, 0.25), (1, 1.25)]


def test_results_reach_a_tracker_that_keeps_them_and_no_other(tmp_path: Path) -> None:
    kept: list[str] = []

    class Keeper(Silent):
        def table(self, results: Results) -> None:
            kept.append(results.name)

        def artifact(self, kind: str, files: Sequence[Path]) -> None:
            kept.append(f"{kind} {files[0].name}")

    for tracker in (Keeper(tmp_path, "run-a", "search"), CsvTracker(tmp_path, "run-a", "search")):
        guarded = GuardedTracker(tracker)
        guarded.table(Results("evaluations", ["error"], [[0.5]]))
        guarded.artifact("report", [tmp_path / "index.html"])
        guarded.close()
    assert kept == ["evaluations", "report index.html"]


def test_csv_has_every_number_at_full_precision(tmp_path: Path) -> None:
    tracker = CsvTracker(tmp_path, "run-a", "search")
    tracker.scalars(0, {"loss": 0.1 + 0.2})
    tracker.close()
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("7,lo")
    again = CsvTracker(tmp_path, "run-a", "search")
    again.scalars(1, {"loss": 0.5, "a,b": 2})
    again.close()
    rows = list(csv.reader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert rows == [
        ["step", "name", "value"],
        ["0", "loss", "0.30000000000000004"],
        ["1", "loss", "0.5"],
        ["1", "a,b", "2.0"],
    ]


class Broken:
    """Raises at the second call, or when closed."""

    def __init__(self) -> None:
        self.calls = 0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.calls += 1
        if self.calls > 1:
            raise OSError(f"no space left at step {step} for {json.dumps(dict(values))}")

    def close(self) -> None:
        raise RuntimeError("cannot close")


def test_a_broken_tracker_warns_once_and_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    guarded = GuardedTracker(broken)
    with caplog.at_level(logging.WARNING):
        for step in range(10):
            guarded.scalars(step, {"loss": 1.0})
            time.sleep(0.002)
        guarded.close()
        guarded.close()
    assert broken.calls == 2
    assert [record.getMessage()[:36] for record in caplog.records] == ["Broken is switched off: OSError: no "]


class Stuck(Broken):
    """Its first call returns only when released, at the latest after a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.has_returned = False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.calls += step + len(values)
        self.release.wait(60)
        self.has_returned = True


def test_a_stuck_tracker_delays_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stuck = Stuck()
    guarded = GuardedTracker(stuck, patience=0.2)
    for step in range(20_000):
        guarded.scalars(step, {"loss": 1.0})
    guarded.close()
    assert not stuck.has_returned
    assert [record.getMessage() for record in caplog.records] == [
        "Stuck is switched off: it does not keep up"
    ]
    stuck.release.set()


def test_a_working_tracker_gets_everything_in_order(tmp_path: Path) -> None:
    guarded = GuardedTracker(CsvTracker(tmp_path, "run-a", "search"))
    for step in range(500):
        guarded.scalars(step, {"loss": float(step)})
    guarded.close()
    rows = list(csv.reader((tmp_path / "metrics.csv").read_text().splitlines()))[1:]
    assert rows == [[str(step), "loss", repr(float(step))] for step in range(500)]
