"""`run=<name> resume=true` continues the command that was stopped, with its settings, and no more."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tables_written
import yaml

from evonas import cli_args, files

IDENTITY = {
    "created": "2026-01-01",
    "task": {"name": "nb201"},
    "seed": 0,
    "space": {},
    "network": {},
    "data": {},
}


def recorded(folder: Path, *commands: tuple[list[str], int | None]) -> None:
    """A run with these commands, each with its exit code; None for a killed one."""
    files.write_json(folder / "run.json", IDENTITY)
    for number, (words, code) in enumerate(commands, 1):
        attempt = folder / f"attempts/{number:03d}"
        files.write_text(attempt / "overrides.yaml", yaml.safe_dump(words))
        if code is not None:
            files.write_json(attempt / "end.json", {"code": code})


def resumed(*words: str) -> list[str]:
    return cli_args.rewrite(["run=a", "resume=true", *words])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs/a"


FIRST = (["+task=nb201", "stage=search", "seed=1"], 0)


@pytest.mark.parametrize("code", [None, 130, 143, 1, 3, 4])
def test_a_stage_that_was_stopped_goes_on(code: int | None, here: Path) -> None:
    recorded(here, (["+task=nb201", "stage=search", "seed=1"], code))
    assert resumed() == ["run=a", "resume=true", "stage=search", "+task=nb201", "seed=1"]


def test_it_has_the_settings_of_the_command_that_was_stopped(here: Path) -> None:
    later = ["run=a", "stage=search", "budget.evaluations=99", "+task=nb201", "seed=1"]
    recorded(here, (["+task=nb201", "stage=pretrain", "seed=1"], 0), (later, 130), (["stage=report"], 0))
    assert {"stage=search", "budget.evaluations=99", "seed=1"} <= set(resumed())
    # what is typed wins
    assert "budget.evaluations=50" in resumed("budget.evaluations=50")
    assert "budget.evaluations=99" not in resumed("budget.evaluations=50")


def test_refused_commands_were_not_stopped(here: Path) -> None:
    recorded(here, (["+task=nb201", "stage=search"], 130), (["+task=nb201", "stage=select"], 2))
    assert "stage=search" in resumed()


def test_a_pipeline_goes_on_as_one(here: Path) -> None:
    recorded(here, (["+task=nb201"], 130))
    assert not [word for word in resumed() if word.startswith("stage=")]
    recorded(here, (["+task=nb201"], 0), (["+task=nb201", "stage=select"], 0))
    assert not [word for word in resumed() if word.startswith("stage=")]


def test_a_stage_that_is_typed_is_meant(here: Path) -> None:
    recorded(here, (["+task=nb201", "stage=search"], 130))
    assert [word for word in resumed("stage=run") if word.startswith("stage=")] == ["stage=run"]


def test_where_nothing_was_stopped_the_other_stages_are_asked_for(
    evonas_command: Callable, here: Path
) -> None:
    recorded(here, FIRST)
    ended = evonas_command("run=a", "resume=true")
    assert ended.code == 2 and "Nothing in run 'a' was stopped" in ended.err
    assert "stage=run run=a resume=true" in ended.err or "run=a stage=run resume=true" in ended.err


def test_a_search_that_was_stopped_is_searched_alone(
    evonas_command: Callable, tmp_path: Path, here: Path
) -> None:
    tables_written.nb201(tmp_path / "tables")
    words = ("+task=nb201", f"data.root={tmp_path / 'tables'}", "search=random", "run=a")
    assert evonas_command(*words, "stage=search", "budget.evaluations=32").code == 0
    (here / "attempts/001/end.json").write_text(json.dumps({"code": 130}), encoding="utf-8")
    ended = evonas_command("run=a", "resume=true")
    assert ended.code == 0, ended.err
    assert not (here / "selected.json").exists() and not (here / "report").exists()
