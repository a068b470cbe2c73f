"""A deterministic sweep: the process dies once at every named fault point, and the search ends the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from trial import Trial

import evonas

SOURCE = Path(evonas.__file__).parent
DRIVER_POINTS = {"archive.before_commit": 7, "archive.after_commit": 30, "search.after_tell": 2}
WORKER_POINTS = {"worker.before_measure": 9, "worker.before_answer": 9}
FILE_POINTS = {"files.before_replace": 2}
EVALUATIONS = ("--evaluations", "72")


def points() -> set[str]:
    """Every fault point that the source names."""
    texts = (path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    return {name for text in texts for name in re.findall(r"(?:point|_transaction)\(\"([^\"]+)\"\)", text)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    trial = Trial(tmp_path_factory.mktemp("straight"), EVALUATIONS)
    trial.go_on_here()
    return trial


def test_every_point_is_swept() -> None:
    assert points() == DRIVER_POINTS.keys() | WORKER_POINTS.keys() | FILE_POINTS.keys()


@pytest.mark.parametrize("point", DRIVER_POINTS)
def test_driver_dies_there(tmp_path: Path, straight: Trial, point: str) -> None:
    armed = Trial(tmp_path / "run", EVALUATIONS, {"EVONAS_FAULT": f"{point}:{DRIVER_POINTS[point]}"})
    dying = armed.start()
    dying.communicate(timeout=60)
    assert dying.returncode == -9, "the point was not reached"
    assert armed.gone()
    assert armed.is_sound()
    again = Trial(tmp_path / "run", EVALUATIONS)
    again.go_on_here()
    assert again.dump() == straight.dump()
    assert len(again.executions) - 72 <= 2


@pytest.mark.parametrize("point", DRIVER_POINTS)
def test_driver_of_an_asynchronous_search_dies_there(tmp_path: Path, point: str) -> None:
    options = (*EVALUATIONS, "--in-flight", "5")
    # tells are as many as facts here
    moment = {**DRIVER_POINTS, "search.after_tell": 20}[point]
    armed = Trial(tmp_path / "run", options, {"EVONAS_FAULT": f"{point}:{moment}"})
    dying = armed.start()
    dying.communicate(timeout=60)
    assert dying.returncode == -9, "the point was not reached"
    assert armed.gone()
    assert armed.is_sound()
    before = armed.in_order_recorded()
    assert before
    again = Trial(tmp_path / "run", options)
    digest = again.go_on_here()
    assert again.in_order_recorded()[: len(before)] == before
    assert len(again.in_order_recorded()) == len(set(again.rows())) == 72
    assert len(again.executions) - 72 <= 2
    # a third start replays everything that two processes recorded, and measures nothing
    executions = len(again.executions)
    assert again.go_on_here() == digest and len(again.executions) == executions


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_every_worker_dies_there(tmp_path: Path, straight: Trial, point: str) -> None:
    armed = Trial(
        tmp_path / "run",
        (*EVALUATIONS, "--tries", "9"),
        {"EVONAS_FAULT": f"{point}:{WORKER_POINTS[point]}"},
    )
    armed.finish()
    assert armed.dump() == straight.dump()
    if point == "worker.before_answer":
        assert len(armed.executions) > 72, "the point was not reached"
    assert armed.gone()


@pytest.mark.parametrize("point", FILE_POINTS)
def test_files_are_whole_or_old(tmp_path: Path, point: str) -> None:
    target = tmp_path / "value.json"
    code = (
        "from pathlib import Path; from evonas.files import write_json; "
        f"path = Path({str(target)!r}); write_json(path, 'old'); write_json(path, 'new')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCE.parent), "EVONAS_FAULT": f"{point}:{FILE_POINTS[point]}"},
        check=False,
    )
    assert ended.returncode == -9
    assert target.read_text() == '"old"\n'
