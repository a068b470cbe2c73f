"""A run folder of somebody else is data: looking at it executes nothing, follows no link and ends soon."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tables_written

import evonas

Command = Callable[..., Any]
LIST, COMPARE, REPORT = ("list",), ("compare", "runs=[theirs,mine]"), ("report", "run=theirs")
SHOW = ("show", "run=theirs", "networks='nb201:e=none,none,none,none,none,none'")
LOOKS = (LIST, SHOW, REPORT, COMPARE)
# what is made of an archive: not by the other two, which take seconds under test
MAKING = (SHOW, REPORT)
WRITE = {
    "_target_": "pathlib.Path.write_text",
    "_args_": [{"_target_": "pathlib.Path", "_args_": ["marker"]}, "x"],
}
MODULE = "from pathlib import Path\nPath('marker').touch()\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of one small search, found in a process of its own."""
    folder = tmp_path_factory.mktemp("made")
    tables_written.nb201(folder / "tables")
    words = ("+task=nb201", f"data.root={folder / 'tables'}", "budget.evaluations=16", "search=random")
    typed = [sys.executable, "-m", "evonas", *words, "run=theirs"]
    place = {"PYTHONPATH": str(Path(evonas.__file__).parent.parent)}
    for stage in ("search", "select"):
        ended = subprocess.run(
            [*typed, f"stage={stage}"],
            cwd=folder,
            env={**os.environ, **place},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def theirs(made: Path, tmp_path: Path) -> Path:
    """The run of somebody else, beside a run of the user."""
    for name in ("theirs", "mine"):
        shutil.copytree(made / "outputs/theirs", tmp_path / "outputs" / name)
    (tmp_path / "precious").write_text("precious")
    return tmp_path / "outputs/theirs"


def typed(run: Path, *words: str) -> None:
    (run / "attempts/001/overrides.yaml").write_text(json.dumps(["+task=nb201", *words]))


def meta(run: Path, **changed: Any) -> None:
    """Change the metadata, and seal it as its author can."""
    with sqlite3.connect(run / "search/archive.sqlite") as connection:
        connection.execute("DROP TABLE seal")
        connection.execute("PRAGMA user_version = 1")
        for key, value in changed.items():
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
    connection.close()


def space(target: str, **arguments: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        meta(run, space={"_target_": target, "name": "nb201", **arguments})

    return change


def linked(relative: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = run / relative
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(run.parent.parent / "precious")

    return change


def piped(relative: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / relative).unlink(missing_ok=True)
        os.mkfifo(run / relative)

    return change


def sparse(relative: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        with (run / relative).open("ab") as stream:
            stream.truncate(10**12)

    return change


def packages(run: Path) -> None:
    (run.parent.parent / "theirs_code.py").write_text(MODULE)
    typed(run, "packages=[theirs_code]", "tracker={_target_: theirs_code.Tracker, artifacts: true}")


def view(run: Path) -> None:
    with sqlite3.connect(run / "search/archive.sqlite") as connection:
        connection.execute("ALTER TABLE evaluation RENAME TO e")
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        names = "seq, fingerprint, genotype, part, state, objectives, extra, reason, checksum"
        columns = ", ".join(f"i AS {name}" for name in names.split(", "))
        connection.execute(f"CREATE VIEW evaluation AS SELECT {columns} FROM ({endless})")
    connection.close()


def network(run: Path) -> None:
    identity = json.loads((run / "run.json").read_text())
    identity["network"] = {"_target_": "evonas.stages.convert.Convert", "deep": WRITE}
    (run / "run.json").write_text(json.dumps(identity))


def many(run: Path) -> None:
    folder = run / "many"
    folder.mkdir()
    for number in range(10):
        (folder / "/".join(["d"] * 60) / str(number)).mkdir(parents=True)
    (folder / "/".join(["d"] * 70)).mkdir(parents=True)


CONFIGS: dict[str, Callable[[Path], None]] = {
    "packages": packages,
    "a tracker that sends results away": lambda run: typed(
        run, "tracker=mlflow", "tracker.tracking_uri=file:marker"
    ),
    "a task that is a stage": lambda run: typed(run, "task._target_=evonas.stages.convert.Convert"),
    "a space that is a worker": space("evonas.evaluate.worker.main", arguments=["0", "1", "0", "-"]),
    "a space that is a stage": space("evonas.stages.convert.Convert"),
    "a space that holds another class": space(
        "evonas.space.declared.declared_space", axes={"e1": {"_target_": "evonas.track.csv.CsvTracker"}}
    ),
    "a space that writes": space("evonas.track.csv.CsvTracker", folder="marker", run="x", stage="x"),
    "a space by a path": lambda run: meta(run, space=WRITE),
    "a space that is huge": space("evonas.space.declared.declared_space", bits={"b": 10**12}),
    "a space that is large": space(
        "evonas.space.declared.declared_space", bits={f"b{at}": 99_999 for at in range(999)}
    ),
    "a network that writes": network,
}
FILES: dict[str, Callable[[Path], None]] = {
    "an endless view": view,
    "a linked lock": linked(".lock"),
    "a linked report": linked("report"),
    "a linked page": linked("report/index.html"),
    "linked attempts": linked("attempts"),
    "a linked archive": linked("search/archive.sqlite"),
    "a linked log": linked("search/archive.sqlite-wal"),
    "a linked selection": linked("selected.json"),
    "a pipe as identity": piped("run.json"),
    "a pipe as archive": piped("search/archive.sqlite"),
    "a pipe as lock": piped(".lock"),
    "a deep identity": lambda run: (run / "run.json").write_text("[" * 10**6) and None,
    "a deep selection": lambda run: (run / "selected.json").write_text('{"nets":' * 10**6) and None,
    "a huge identity": sparse("run.json"),
    "a huge archive": sparse("search/archive.sqlite"),
    "a huge selection": sparse("selected.json"),
    "huge overrides": sparse("attempts/001/overrides.yaml"),
    "many folders": many,
}
CASES = {name: (change, MAKING) for name, change in CONFIGS.items()}
# all four read an archive; of the other files a command that reads all runs and one that reads this one say enough
CASES |= {
    name: (change, LOOKS if "archive" in name or "view" in name else (LIST, REPORT))
    for name, change in FILES.items()
}


@pytest.mark.parametrize(("change", "looks"), CASES.values(), ids=CASES.keys())
def test_looking_has_no_effect_and_ends(
    theirs: Path,
    evonas_command: Command,
    change: Callable[[Path], None],
    looks: Sequence[tuple[str, ...]],
) -> None:
    change(theirs)
    outside = theirs.parent.parent
    before = {path.name for path in outside.iterdir()}
    for words in looks:
        began = time.process_time()
        ended = evonas_command(*words)
        assert time.process_time() - began < 10
        assert ended.code in (0, 2, 3), ended.err
        assert "Traceback" not in ended.err and "bug of evonas" not in ended.err
        assert {path.name for path in outside.iterdir()} == before
        assert (outside / "precious").read_text() == "precious"
    assert os.environ.get("EVONAS_PACKAGES") is None


def test_an_honest_run_is_looked_at(theirs: Path, evonas_command: Command) -> None:
    for words in LOOKS:
        ended = evonas_command(*words)
        assert ended.code == 0 and "left out" not in ended.err, ended.err
    assert "e1" in (theirs / "report/index.html").read_text()


def test_links_are_refused_by_commands_that_write(theirs: Path, evonas_command: Command) -> None:
    linked(".lock")(theirs)
    ended = evonas_command("stage=select", "run=theirs")
    assert ended.code == 3 and ".lock is a link" in ended.err
    assert (theirs.parent.parent / "precious").read_text() == "precious"


def test_recorded_code_needs_a_word_on_the_command_line(theirs: Path, evonas_command: Command) -> None:
    packages(theirs)
    ended = evonas_command("stage=select", "run=theirs", "resume=true")
    assert ended.code == 2 and "add: 'packages=[theirs_code]'" in ended.err
    assert not Path("marker").exists()


@pytest.mark.parametrize("name", ["numpy", "yaml", "hydra_plugins/evil", "logging"])
def test_nothing_is_imported_from_the_current_folder(theirs: Path, name: str) -> None:
    folder = theirs.parent.parent
    path = folder / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(MODULE)
    place = {"PYTHONPATH": str(Path(evonas.__file__).parent.parent)}
    typed = [sys.executable, "-m", "evonas", "list"]
    ended = subprocess.run(typed, cwd=folder, env={**os.environ, **place}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert not (folder / "marker").exists()
