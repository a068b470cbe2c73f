"""The table of runs: what each is, and how its last command ended."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tables_written

from evonas import lock
from evonas.run import LOCK

SEARCH = ("+task=nb201", "stage=search", "budget.evaluations=32", "search=random")


def listed(command: Callable) -> dict[str, dict]:
    ended = command("list", "stage.json=true")
    assert ended.code == 0, ended.err
    return {row["run"]: row for row in json.loads(ended.out)}


@pytest.fixture
def tables(tmp_path: Path) -> str:
    tables_written.nb201(tmp_path / "tables")
    return f"data.root={tmp_path / 'tables'}"


def test_without_runs_it_says_how_to_make_one(evonas_command: Callable, tmp_path: Path) -> None:
    ended = evonas_command("list")
    assert ended.code == 0 and "+task=synthetic" in ended.out
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


def test_every_run_has_a_row(evonas_command: Callable, tables: str) -> None:
    assert evonas_command(*SEARCH, tables, "run=good").code == 0
    assert evonas_command("+task=nb201", "stage=select", tables, "run=bad").code == 2
    assert evonas_command("report", "run=good").code == 0
    rows = listed(evonas_command)
    assert list(rows) == ["good", "bad"]
    assert rows["good"]["task"] == "nb201" and rows["good"]["points"] == 32
    assert 0 < rows["good"]["hypervolume"] < 1 and rows["good"]["megabytes"] > 0
    assert (rows["good"]["stage"], rows["good"]["state"]) == ("search", "done")
    assert (rows["bad"]["stage"], rows["bad"]["state"]) == ("select", "failed")
    assert rows["bad"]["points"] is None
    shown = evonas_command("list").out
    assert "good" in shown and "hypervolume" in shown and shown.rstrip().endswith("report run=last")


@pytest.mark.slow
def test_states_follow_the_end_of_the_last_command(
    evonas_command: Callable, tables: str, tmp_path: Path
) -> None:
    assert evonas_command(*SEARCH, tables, "run=one").code == 0
    end = tmp_path / "outputs/one/attempts/001/end.json"
    end.write_text(json.dumps({"code": 130, "ended": "2026-01-01T00:00:00+00:00"}), encoding="utf-8")
    assert listed(evonas_command)["one"]["state"] == "stopped"
    # a killed command has no time to say anything
    end.unlink()
    assert listed(evonas_command)["one"]["state"] == "interrupted"
    held = tmp_path / "outputs/one" / LOCK
    lock.acquire(held, "one")
    assert listed(evonas_command)["one"]["state"] == "running"
    lock.release(held)


def test_a_damaged_archive_hides_no_run(evonas_command: Callable, tables: str, tmp_path: Path) -> None:
    assert evonas_command(*SEARCH, tables, "run=one").code == 0
    (tmp_path / "outputs/one/search/archive.sqlite").write_bytes(b"no database" * 100)
    assert listed(evonas_command)["one"]["points"] is None
