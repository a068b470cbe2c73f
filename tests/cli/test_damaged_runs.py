"""One damaged, private or read-only run stops nothing else."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tables_written

from evonas import files
from evonas.stages.list import listed

SEARCH = ("+task=nb201", "stage=search", "budget.evaluations=32", "search=random")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a table."""
    folder = tmp_path_factory.mktemp("made")
    tables_written.nb201(folder / "tables")
    words = (*SEARCH, f"data.root={folder / 'tables'}", "run=good")
    place = {"PYTHONPATH": os.pathsep.join(sys.path)}
    for each in (words, ("stage=select", "run=good")):
        ended = subprocess.run(
            [sys.executable, "-m", "evonas", *each],
            cwd=folder,
            env={**os.environ, **place},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
    return folder / "outputs/good"


@pytest.fixture
def good(made: Path, tmp_path: Path) -> Path:
    """A finished run beside which others are damaged."""
    shutil.copytree(made, tmp_path / "outputs/good")
    return tmp_path / "outputs/good"


def rows(command: Callable) -> dict[str, dict[str, Any]]:
    ended = command("list", "stage.json=true")
    assert ended.code == 0, ended.err
    return {row["run"]: row for row in json.loads(ended.out)}


IDENTITY = {
    "task": {"name": "toy"},
    "seed": 0,
    "space": {},
    "network": {},
    "data": {},
    "created": "2026-01-01",
}
TORN = {
    "empty": "",
    "half": '{"created": "2026-01',
    "deep": "[" * 1_000_000,
    "list": "[]",
    "binary": "\0\1\2",
    "meta is missing": '{"created": "2026-01-01T00:00:00+00:00"}',
    "created in words": json.dumps({**IDENTITY, "created": "yesterday"}),
    "created as a number": json.dumps({**IDENTITY, "created": 5}),
}


@pytest.mark.parametrize("text", TORN.values(), ids=TORN.keys())
def test_a_torn_identity_is_a_row(text: str, evonas_command: Callable, good: Path) -> None:
    files.write_text(good.parent / "bad/run.json", text)
    found = rows(evonas_command)
    assert found["bad"]["state"] == "damaged" and found["bad"]["damage"]
    assert (found["good"]["state"], found["good"]["points"]) == ("done", 32)
    shown = evonas_command("list")
    assert shown.code == 0 and "damaged: bad: " in shown.out
    # `last` passes over it
    assert evonas_command("report", "run=last").code == 0
    told = evonas_command("report", "run=bad")
    # a report needs neither date nor task
    assert "Traceback" not in told.err and (told.code == 0 or (told.code == 3 and "run.json" in told.err))


@pytest.mark.parametrize("task", ["toy", None, {}, {"name": None}])
def test_a_run_without_a_task_has_no_task_in_its_row(
    task: object, evonas_command: Callable, good: Path
) -> None:
    files.write_json(good.parent / "bad/run.json", {**IDENTITY, "task": task})
    assert list(rows(evonas_command)) == ["bad", "good"]
    ended = evonas_command("report", "run=bad")
    assert ended.code in (0, 3) and "Traceback" not in ended.err, ended.err


def test_a_date_without_a_zone_is_of_utc(evonas_command: Callable, good: Path) -> None:
    files.write_json(good.parent / "old/run.json", {**IDENTITY, "created": "2026-01-01T00:00:00"})
    found = rows(evonas_command)
    assert list(found) == ["old", "good"] and found["old"]["state"] == "new" and not found["old"]["damage"]


def spoil_meta(run: Path) -> None:
    with sqlite3.connect(run / "search/archive.sqlite") as connection:
        connection.execute("DELETE FROM meta WHERE key = 'objectives'")
    connection.close()


def spoil_box(run: Path) -> None:
    with sqlite3.connect(run / "search/archive.sqlite") as connection:
        connection.execute("UPDATE meta SET value = '[[1], \"x\"]' WHERE key = 'ideal'")
    connection.close()


SPOILS: dict[str, Callable[[Path], object]] = {
    "archive": lambda run: (run / "search/archive.sqlite").write_bytes(b"no database" * 99),
    "empty archive": lambda run: (run / "search/archive.sqlite").write_bytes(b""),
    "meta": spoil_meta,
    "box": spoil_box,
    "overrides": lambda run: (run / "attempts/002/overrides.yaml").write_text("- [", encoding="utf-8"),
    "baselines": lambda run: files.write_text(run / "baselines/baselines.json", "{"),
    "selection": lambda run: [
        files.write_text(run / "selected.json", "{"),
        files.write_json(run / "baselines/baselines.json", {"networks": []}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
def test_any_damaged_file_is_told_in_its_row(
    spoil: Callable[[Path], object], evonas_command: Callable, good: Path
) -> None:
    shutil.copytree(good, good.parent / "bad")
    spoil(good.parent / "bad")
    found = rows(evonas_command)
    assert found["bad"]["state"] == "damaged" and len(found["bad"]["damage"]) >= 1
    assert (found["good"]["state"], found["good"]["points"], found["good"]["damage"]) == ("done", 32, [])
    for words in (["report", "run=bad"], ["show", "run=bad"], ["compare", "runs=[good,bad]"]):
        ended = evonas_command(*words)
        assert ended.code in (0, 2, 3) and "Traceback" not in ended.err, (words, ended.err)


@pytest.mark.parametrize("text", ["{", "", "[1, 2]", '{"nets": 5}', '{"nets": [{"name": "a"}]}'])
def test_a_report_without_a_torn_selection_shows_the_rest(
    text: str, evonas_command: Callable, good: Path
) -> None:
    (good / "selected.json").write_text(text, encoding="utf-8")
    ended = evonas_command("report", "run=good")
    assert ended.code == 0 and "selected.json" in ended.err
    page = (good / "report/index.html").read_text(encoding="utf-8")
    assert "Damaged files" in page and "selected.json" in page and "Pareto front" in page
    for words in (["show", "run=good"], ["stage=retrain", "run=good"], ["stage=measure", "run=good"]):
        told = evonas_command(*words)
        assert told.code in (2, 3) and "Traceback" not in told.err, told.err


@pytest.mark.parametrize(
    "name", ["evaluate/test.json", "supernet/panel.json", "rank/rank.json", "discover/formula.json"]
)
@pytest.mark.parametrize("text", ["{", '{"steps": 3, "error_name": "e"}'])
def test_a_report_shows_what_is_left(name: str, text: str, evonas_command: Callable, good: Path) -> None:
    files.write_text(good / name, text)
    ended = evonas_command("report", "run=good")
    assert ended.code == 0, ended.err
    assert "Pareto front" in (good / "report/index.html").read_text(encoding="utf-8")


def test_a_torn_marker_of_a_finished_stage_is_named(evonas_command: Callable, good: Path) -> None:
    again = ("stage=run", "run=good", "resume=true")
    assert evonas_command(*again).code == 0
    (good / "done/search.json").write_text("{", encoding="utf-8")
    ended = evonas_command(*again)
    assert ended.code == 3 and "done/search.json is damaged" in ended.err and "rm " in ended.err
    (good / "done/search.json").unlink()
    assert evonas_command(*again).code == 0


@pytest.mark.parametrize("is_killed", [False, True])
def test_outputs_on_a_read_only_disk_are_looked_at(is_killed: bool, good: Path, tmp_path: Path) -> None:
    # a mount of its own, as of a disk that was archived; only Linux has it without being root
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs unshare")
    if is_killed:
        kill_amid_a_write(good / "search/archive.sqlite")
    before = sorted(good.rglob("*"))
    (tmp_path / "work").mkdir()
    looks = ["list stage.json=true", "show run=good", "report run=last", "stage=select run=good"]
    script = "mount --bind {0} {0} && mount -o remount,ro,bind {0} && cd {1}".format(
        good.parent, tmp_path / "work"
    )
    for number, words in enumerate(looks):
        command = f"{sys.executable} -m evonas {words} outputs={good.parent} >out{number} 2>err{number}"
        script += f"; {command}; echo $? >code{number}"
    place = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(["unshare", "-rm", "sh", "-c", script], env={**os.environ, **place}, check=True)
    codes = [int((tmp_path / f"work/code{number}").read_text()) for number in range(len(looks))]
    said = [(tmp_path / f"work/err{number}").read_text() for number in range(len(looks))]
    assert codes == [0, 0, 0, 4], said
    [row] = json.loads((tmp_path / "work/out0").read_text())
    assert row["points"] == 32 and not row["damage"]
    assert (tmp_path / "work/good-report.html").is_file()
    assert "Traceback" not in said[3] and "ead-only" in said[3]
    assert sorted(good.rglob("*")) == before


def kill_amid_a_write(archive: Path) -> None:
    """Leave a write-ahead log, as a killed search does."""
    connection = sqlite3.connect(archive, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    # there and back, so that the content stays what it was
    connection.execute("UPDATE execution SET worker = worker || 'x'")
    connection.execute("UPDATE execution SET worker = substr(worker, 1, length(worker) - 1)")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{archive}{suffix}", f"{archive}{suffix}.kept")
    connection.close()
    for suffix in ("", "-wal"):
        Path(f"{archive}{suffix}.kept").replace(f"{archive}{suffix}")
    assert Path(f"{archive}-wal").stat().st_size > 0


def test_the_private_run_of_another_user_is_a_row(good: Path) -> None:
    private = good.parent / "private"
    for path in (good, *good.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    files.write_json(private / "run.json", IDENTITY)
    shutil.copytree(good, good.parent / "half")
    folders = (good.parent.parent, *good.parent.parent.parents)
    closed = [folder for folder in folders if not folder.stat().st_mode & 1]
    for folder in closed:
        folder.chmod(folder.stat().st_mode | 0o055)
    private.chmod(0)
    (good.parent / "half/search").chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        rows = {row.run: row for row in listed(good.parent)}
    finally:
        if is_root:
            os.seteuid(0)
        private.chmod(0o700)
        (good.parent / "half/search").chmod(0o700)
    assert rows["private"].state == "damaged" and "private to another user" in rows["private"].damage[0]
    assert rows["half"].state == "damaged" and "half/search is private" in rows["half"].damage[0]
    assert rows["good"].points == 32
