"""What is known about a network, and the same numbers when it is measured again."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import tables_written

from evonas.report.archive_reader import read


@pytest.fixture
def searched(evonas_command: Callable, tmp_path: Path) -> Path:
    tables_written.nb201(tmp_path / "tables")
    words = ("+task=nb201", f"data.root={tmp_path / 'tables'}", "budget.evaluations=32", "search=random")
    assert evonas_command(*words, "stage=search", "run=one").code == 0
    return tmp_path / "outputs/one"


def test_a_point_of_the_search_is_shown(evonas_command: Callable, searched: Path) -> None:
    facts = read(searched / "search/archive.sqlite")
    ended = evonas_command("show", "run=one", f"networks='{facts.genotypes[3]}'")
    assert ended.code == 0, ended.err
    assert "point 4 of 32" in ended.out
    for name, value in facts.objectives(3).items():
        # a number has its unit beside its name
        assert re.search(rf"{name}( \(\w+\))? {re.escape(repr(value))}", ended.out)
    assert re.search(r"shared fingerprint [0-9a-f]{64}, took ", ended.out)


def test_the_command_that_it_prints_gives_the_same_numbers(evonas_command: Callable, searched: Path) -> None:
    text = read(searched / "search/archive.sqlite").genotypes[3]
    last = evonas_command("show", "run=one", f"networks='{text}'").out.splitlines()[-1]
    assert last.startswith("Measure again: python -m evonas ")
    ended = evonas_command(*shlex.split(last.removeprefix("Measure again: python -m evonas ")))
    assert ended.code == 0, ended.err
    rows = json.loads((searched / "measure/measured.json").read_text())
    assert {row["note"] for row in rows} == {"equal"}
    assert {row["objective"] for row in rows} == set(read(searched / "search/archive.sqlite").names)


def test_chosen_networks_are_known_by_name(evonas_command: Callable, searched: Path) -> None:
    refused = evonas_command("show", "run=one")
    assert refused.code == 2 and "Which network?" in refused.err
    assert evonas_command("stage=select", "run=one").code == 0
    names = [net["name"] for net in json.loads((searched / "selected.json").read_text())["nets"]]
    every = evonas_command("show", "run=one").out
    assert all(name in every for name in names)
    alone = evonas_command("show", "run=one", f"networks={names[0]}")
    assert alone.code == 0 and alone.out.count("fingerprint") == 1


@pytest.mark.usefixtures("searched")
def test_a_network_of_another_space_is_refused(evonas_command: Callable) -> None:
    ended = evonas_command("show", "run=one", "networks='nano:m=1,1,1,1'")
    assert ended.code == 2 and ended.err.startswith("error: ")
