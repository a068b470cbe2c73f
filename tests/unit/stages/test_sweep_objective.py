"""The number that a sweeper is told."""

from pathlib import Path

import pytest
import small_run

from evonas import files
from evonas.report.archive_reader import read
from evonas.stages.select import Select
from evonas.stages.sweep_objective import outcome


def test_a_search_is_judged_by_what_its_front_leaves(tmp_path: Path) -> None:
    context = small_run.context(tmp_path / "run")
    assert outcome(context.run, "run") is None, "networks that were given are not searched for"
    small_run.search(context)
    share = read(tmp_path / "run/search/archive.sqlite").hypervolume
    assert share is not None and 0 < share < 1
    assert outcome(context.run, "search") == outcome(context.run, "run") == 1 - share


def test_a_better_search_has_the_smaller_number(tmp_path: Path) -> None:
    few, many = (small_run.context(tmp_path / name) for name in ("few", "many"))
    small_run.search(few, 4)
    small_run.search(many, 60)
    less, more = (outcome(each.run, "search") for each in (many, few))
    assert less is not None and more is not None and less < more


def test_a_supernet_is_judged_by_the_last_panel(tmp_path: Path) -> None:
    context = small_run.context(tmp_path / "run")
    panels = [[{"metrics": {"abs_rel": error}} for error in row] for row in ((9.0, 9.0), (0.2, 0.4))]
    content = {"error_name": "abs_rel", "steps": [{"panel": rows} for rows in panels]}
    files.write_json(context.run.path("supernet/panel.json"), content)
    assert outcome(context.run, "supernet") == pytest.approx(0.3)


@pytest.mark.parametrize("steps", [None, [], [{"panel": []}]], ids=["no file", "no step", "no measurement"])
def test_a_supernet_without_a_panel_has_no_number(tmp_path: Path, steps: list[object] | None) -> None:
    context = small_run.context(tmp_path / "run")
    if steps is not None:
        files.write_json(context.run.path("supernet/panel.json"), {"error_name": "abs_rel", "steps": steps})
    assert outcome(context.run, "supernet") is None


def test_retraining_is_judged_by_the_chosen_networks(tmp_path: Path) -> None:
    context = small_run.context(tmp_path / "run")
    small_run.search(context)
    small_run.train(context)
    Select().run(context)
    small_run.retrain(context)
    assert outcome(context.run, "retrain") == pytest.approx(0.3)


@pytest.mark.parametrize("stage", ["doctor", "pretrain", "report"])
def test_other_commands_have_no_number(stage: str, tmp_path: Path) -> None:
    assert outcome(small_run.context(tmp_path / "run").run, stage) is None
