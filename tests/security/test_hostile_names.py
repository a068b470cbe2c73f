"""Names become folders, pages and scripts: those of a list or a config from elsewhere are looked at first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evonas import cli
from evonas.run import Run, find_run
from evonas.stages.networks.selected import SelectedNetwork, selected_networks

NAMES: list[Any] = [
    "../../outside",
    "/tmp/outside",
    "a/b",
    "..",
    ".",
    ".hidden",
    "",
    "a\0b",
    "a\nb",
    "<script>alert(1)</script>",
    "`touch marker`",
    "$(touch marker)",
    "x; touch marker",
    "x" * 500,
    "-rf",
    7,
    None,
    ["knee"],
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_names_of_networks(hostile: Any, name: Any) -> None:
    found = Run(hostile.folder, "toy")
    entry = {"name": name, "genotype": "tiny:", "objectives": {}}
    (hostile.folder / "selected.json").write_text(json.dumps({"error_name": "e", "nets": [entry]}))
    hostile.refused(lambda: selected_networks(found))


@pytest.mark.parametrize("name", ["knee", "spread1", "best_latency", "max", "run-1_knee", "given2", "a.b"])
def test_ordinary_names_are_fine(name: str) -> None:
    assert SelectedNetwork(name, "tiny:", {}).name == name


@pytest.mark.parametrize("name", [each for each in NAMES if isinstance(each, str) and each != ""])
def test_names_of_runs(hostile: Any, name: str) -> None:
    hostile.refused(lambda: find_run(Path("outputs"), name))


@pytest.mark.parametrize("name", [each for each in NAMES if isinstance(each, str) and each[:1] not in "xa"])
def test_no_task_is_called_so(name: str) -> None:
    assert not cli._TASK.fullmatch(name)


def test_names_of_tasks(evonas_command: Callable[..., Any], tmp_path: Path) -> None:
    ended = evonas_command("+task=synthetic", "stage=search", "task.name='<script>alert(1)</script>'")
    assert ended.code == 2 and "cannot be the name of a task" in ended.err
    assert not list(tmp_path.iterdir())
