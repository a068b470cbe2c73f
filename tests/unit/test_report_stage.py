"""stage=report on a tiny run: the page follows what is there, and can be rebuilt byte for byte."""

from pathlib import Path

import small_run

from evonas import files
from evonas.stages.base import Stage
from evonas.stages.report import Report, gather
from evonas.stages.select import Select


def attempt(folder: Path, number: int, overrides: list[str]) -> None:
    text = "".join(f"- {override}\n" for override in overrides)
    files.write_text(folder / f"attempts/{number:03d}/overrides.yaml", text)


def test_it_is_a_stage_that_needs_no_task() -> None:
    assert isinstance(Report(), Stage) and not Report.needs_task


def test_the_page_grows_with_the_run(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    page = tmp_path / "run/report/index.html"
    assert Report().run(made) == f"Report: {page}"
    assert "stage=search run=run" in page.read_text()
    small_run.search(made)
    Select().run(made)
    Report().run(made)
    text = page.read_text()
    selected = files.read_json(tmp_path / "run/selected.json")["nets"]
    assert all(net["genotype"] in text for net in selected)
    assert "1 evaluations failed: timeout" in text and "stage=evaluate run=run" in text


def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    small_run.search(made)
    attempt(tmp_path / "run", 1, ["+task=synthetic", "select.rules=[knee,macs<=2]"])
    Report().run(made)
    first = (tmp_path / "run/report/index.html").read_bytes()
    attempt(tmp_path / "run", 2, ["+task=synthetic", "stage=report"])
    Report().run(made)
    assert (tmp_path / "run/report/index.html").read_bytes() == first
    assert gather(made.run).attempts == ["python -m evonas +task=synthetic 'select.rules=[knee,macs<=2]'"]


def test_results_of_an_earlier_choice_are_left_out(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    small_run.search(made)
    Select().run(made)
    chosen = files.read_json(tmp_path / "run/selected.json")["nets"]
    for net in chosen[:2]:
        genotype = net["genotype"] if net is chosen[0] else "another"
        result = {"name": net["name"], "genotype": genotype, "seconds": 61.0, "retrained": {"abs_rel": 0.2}}
        files.write_json(tmp_path / f"run/retrain/{net['name']}/result.json", result)
    sources = gather(made.run)
    assert list(sources.retrained) == [chosen[0]["name"]]
    assert (f"retraining {chosen[0]['name']}", "1 min 1 s") in sources.times
