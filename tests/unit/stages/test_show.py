"""What is known about a network, and the same numbers when it is measured again."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import tables_written

from evonas import files
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


@pytest.mark.parametrize("retrained", [{}, {"error": [1]}, 3, {"error": "good"}])
def test_a_damaged_retraining_hides_nothing_else(
    evonas_command: Callable, searched: Path, retrained: object
) -> None:
    assert evonas_command("stage=select", "run=one").code == 0
    net = json.loads((searched / "selected.json").read_text())["nets"][0]
    result = {"genotype": net["genotype"], "inherited": {"error": 9.0}, "retrained": retrained}
    path = searched / "retrain" / net["name"] / "result.json"
    files.write_json(path, result | {"retrained": {"error": 8.0}, "seconds": 1.0})
    assert "inherited 9.0000, retrained 8.0000" in evonas_command("show", "run=one").out
    files.write_json(path, result | {"seconds": "long"})
    ended = evonas_command("show", "run=one")
    # nothing at all means that it was not retrained
    is_told = f"retrain/{net['name']}/result.json is damaged" in ended.out
    assert ended.code == 0 and ended.out.count("fingerprint") > 1 and is_told == bool(retrained)
    ended = evonas_command("report", "run=one")
    assert ended.code == 0 and "its 'seconds' is 'long'" in ended.err + ended.out


def test_odd_metrics_of_a_selection_are_damage(evonas_command: Callable, searched: Path) -> None:
    assert evonas_command("stage=select", "run=one").code == 0
    whole = json.loads((searched / "selected.json").read_text())
    for odd in (3, {whole["nets"][0]["name"]: 3}):
        files.write_json(searched / "selected.json", whole | {"metrics": odd})
        ended = evonas_command("show", "run=one")
        assert ended.code == 3 and "selected.json is not a list of networks" in ended.err
        assert evonas_command("report", "run=one").code == 0
