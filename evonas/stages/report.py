"""stage=report: one HTML page about a run."""

import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evonas import files
from evonas.archive import Archive
from evonas.report.analysis.baseline_gain import BASELINES
from evonas.report.archive_reader import read
from evonas.report.page.html import render
from evonas.report.page.sources import Sources
from evonas.report.results import SearchResults
from evonas.report.selection.record import read_selection
from evonas.run import ATTEMPTS, IDENTITY, Run, typed
from evonas.search.loop.racing import image_evaluations
from evonas.stages.base import Context
from evonas.stages.build.recorded import recorded_family, recorded_space
from evonas.stages.networks.selected import SELECTED
from evonas.stages.searching.artifacts import log_artifacts
from evonas.stages.stage_times import stage_seconds
from evonas.track.progress import human_time

PAGE = "report/index.html"
_OWN = ("stage=report", "report")
_PACKAGES = ("torch", "lightning", "numpy", "pymoo")


class Report:
    """Writes the results of a run into report/index.html; the page names what is missing."""

    needs_task = False

    def run(self, context: Context) -> str:
        """Write the page; may be repeated while other stages run."""
        path = context.run.path(PAGE)
        files.write_text(path, render(gather(context.run)))
        log_artifacts(context, "report", "report", [path])
        return f"Report: {path}"


def gather(run: Run) -> Sources:
    """The contents of a run that a report shows."""
    archive, test = run.find("search/archive.sqlite"), run.find("evaluate/test.json")
    facts = read(archive) if archive else None
    chosen = run.find(SELECTED)
    selected = read_selection(chosen, archive) if chosen else None
    return Sources(
        run=run.name,
        task=run.task,
        command=run.command,
        results=facts,
        selected=selected,
        retrained=dict(_retrained(run)),
        test=files.read_json(test) if test else None,
        pictures=test.with_name("pictures") if test else None,
        # a table search records the range of its table, and a multi-task search its runs
        has_network=facts is None or (facts.ideal is None and "joint" not in facts.identity),
        panel=_json(run, "supernet/panel.json"),
        rank=_json(run, "rank/rank.json"),
        baselines=_json(run, BASELINES) or None,
        discovery=_json(run, "discover/formula.json"),
        attempts=list(_attempts(run.directory)),
        environment=list(_environment(run.directory)),
        times=list(_times(run, facts)),
        space=(space := recorded_space((facts.identity if facts else _identity(run.directory)).get("space"))),
        family=recorded_family(_identity(run.directory).get("network"), space),
    )


def _json(run: Run, relative: str) -> Any:
    path = run.find(relative)
    return files.read_json(path) if path else None


def _retrained(run: Run) -> Iterator[tuple[str, Any]]:
    """Results of the selected networks; those of an earlier selection are left out."""
    selected = _json(run, "selected.json") or {"nets": []}
    for net in selected["nets"]:
        result = _json(run, f"retrain/{net['name']}/result.json")
        if result and result["genotype"] == net["genotype"]:
            yield net["name"], result


def _attempts(directory: Path) -> Iterator[str]:
    """The commands of this run without reports, so that a page can be rebuilt."""
    for path in sorted((directory / ATTEMPTS).glob("*/overrides.yaml")):
        overrides = typed(path.parent)
        if not set(_OWN) & set(overrides):
            yield shlex.join(["python", "-m", "evonas", *overrides])


def _identity(directory: Path) -> Any:
    path = directory / IDENTITY
    return files.read_json(path) if path.exists() else {}


def _environment(directory: Path) -> Iterator[tuple[str, str]]:
    identity = _identity(directory)
    named = {"created": "begun (UTC)", "version": "evonas", "seed": "seed"}
    yield from ((label, str(identity[key])) for key, label in named.items() if key in identity)
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _times(run: Run, facts: SearchResults | None) -> Iterator[tuple[str, str]]:
    for stage, seconds in stage_seconds(run.directory).items():
        yield f"stage {stage}", human_time(seconds)
    teacher = _json(run, "teacher/result.json")
    if teacher:
        yield "training the teacher", human_time(teacher["seconds"])
    if facts:
        yield "measuring in the search, summed over workers", human_time(facts.seconds)
        with Archive.read(run.need("search/archive.sqlite", made_by="search")) as archive:
            counts = image_evaluations(archive)
        if counts is not None and counts[1]:
            yield "image evaluations of the race", f"{counts[0] / counts[1]:.0%} of those of full evaluation"
    for name, result in _retrained(run):
        yield f"retraining {name}", human_time(result["seconds"])
