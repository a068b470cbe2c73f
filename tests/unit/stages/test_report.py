"""stage=report on a tiny run: the page follows what is there, and can be rebuilt byte for byte."""

import os
import time
from dataclasses import replace
from pathlib import Path

import small_run
from omegaconf import OmegaConf
from pytest import LogCaptureFixture

from evonas import files
from evonas.archive import Archive
from evonas.report.page.tables import measured
from evonas.run import Run, end_attempt
from evonas.stages.base import Stage
from evonas.stages.report import Report, gather
from evonas.stages.select import Select
from evonas.stages.stage_times import note_seconds, stage_seconds


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


def test_what_the_search_cost_is_told_by_part(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    small_run.search(made)
    facts = gather(made.run).results
    assert facts is not None
    (cost,) = facts.costs
    done = cost.measured - cost.failed
    assert (cost.part, cost.failed) == ("shared", 1) and done == len(facts.genotypes)
    assert cost.seconds == facts.seconds == 0.5 * done
    columns, (row,) = measured(facts).columns, measured(facts).rows
    assert dict(zip(columns, row, strict=True))["failed"] == "1" and row[0] == "shared part"


def test_times_of_stages_add_up_over_the_commands(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    for number, seconds in ((1, 60.0), (2, 1.0)):
        now = replace(made.run, attempt=tmp_path / f"run/attempts/{number:03d}")
        note_seconds(now, "teacher", seconds)
        note_seconds(now, "report", 3.0)
    note_seconds(made.run, "teacher", 99.0)
    assert stage_seconds(made.run.directory) == {"teacher": 61.0}
    assert gather(made.run).times == [("stage teacher", "1 min 1 s")]


def test_single_commands_are_timed_where_they_ended_well(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    for number, (words, end) in enumerate(
        [
            (["stage=teacher"], {"code": 0, "seconds": 4.0}),
            (["stage=teacher", "resume=true"], {"code": 1, "seconds": 90.0}),
            (["stage=search"], None),
            (["stage=select"], {"code": 0}),
            (["stage=report"], {"code": 0, "seconds": 5.0}),
            (["run=one"], {"code": 0, "seconds": 50.0}),
            (["stage=search"], {"code": 0, "seconds": 7.0}),
        ]
    ):
        attempt(directory, number, words)
        if end:
            files.write_json(directory / f"attempts/{number:03d}/end.json", end)
    assert list(stage_seconds(directory).items()) == [("teacher", 4.0), ("search", 7.0)]


def test_a_command_notes_how_long_it_took(tmp_path: Path) -> None:
    folder = tmp_path / "run/attempts/001"
    files.write_text(folder / "config.yaml", "seed: 0\n")
    os.utime(folder / "config.yaml", (time.time() - 60, time.time() - 60))
    attempt(tmp_path / "run", 1, ["stage=teacher"])
    end_attempt(Run(tmp_path / "run", "synthetic", attempt=folder), 0)
    assert 60 <= stage_seconds(tmp_path / "run")["teacher"] < 3600


def test_the_space_of_the_archive_says_what_genes_mean(tmp_path: Path, caplog: LogCaptureFixture) -> None:
    made = small_run.context(tmp_path / "run")
    node = OmegaConf.to_container(made.cfg.space)
    for wanted, expected in ((node, "tiny"), ({"_target_": "somebody.own.space"}, None), ("tiny", None)):
        about = {"objectives": ["error"], "fingerprints": {"shared": "f"}, "space": wanted}
        path = made.run.path("search/archive.sqlite")
        path.unlink(missing_ok=True)
        with Archive.open(path, about, resume=False):
            pass
        space = gather(made.run).space
        assert (space and space.name) == expected
    assert sum("What genes mean is left out" in record.message for record in caplog.records) == 1


def test_the_family_of_the_networks_comes_from_the_run(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    assert gather(made.run).family is None
    space, network = (OmegaConf.to_container(made.cfg[key]) for key in ("space", "network"))
    files.write_json(tmp_path / "run/run.json", {"space": space, "network": network})
    found = gather(made.run)
    assert found.space is not None and found.space.name == "tiny"
    assert found.family is not None and [level.channels for level in found.family.levels] == [8, 8, 16, 16]
    # what is no family, or not of this space, or not even a mapping, leaves drawings out and stops nothing
    wrong = {"_target_": "evonas.nn.level.Level", "channels": 1, "stride": 4}
    for other in (wrong, {**network, "dims": [8]}, {"dims": "wide"}, "wide", None):  # type: ignore[dict-item]
        files.write_json(tmp_path / "run/run.json", {"space": space, "network": other})
        assert gather(made.run).family is None
