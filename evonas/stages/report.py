"""stage=report: one HTML page about a run."""

import errno
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evonas import files
from evonas.archive import Archive
from evonas.command_text import command
from evonas.errors import DamagedError, UserError
from evonas.report.analysis.baseline_gain import BASELINES
from evonas.report.archive_reader import read
from evonas.report.page.html import render
from evonas.report.page.sources import Sources
from evonas.report.results import SearchResults
from evonas.report.selection.record import read_selection
from evonas.run import IDENTITY, Run, attempts_of, typed
from evonas.search.loop.racing import image_evaluations
from evonas.stages.base import Context
from evonas.stages.build.recorded import recorded_family, recorded_space
from evonas.stages.networks.selected import SELECTED, network_of_entry
from evonas.stages.searching.artifacts import log_artifacts
from evonas.stages.shortened import shortened_in
from evonas.stages.stage_times import stage_seconds
from evonas.track.progress import human_time

_LOG = logging.getLogger(__name__)
PAGE = "report/index.html"
_OWN = ("stage=report", "report")
_FILES = {
    "selected": SELECTED,
    "test": "evaluate/test.json",
    "panel": "supernet/panel.json",
    "rank": "rank/rank.json",
    "baselines": BASELINES,
    "discovery": "discover/formula.json",
}
# what a file must have to be what its name says
_NEEDS = {"result.json": {"seconds": (int, float)}}
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_PACKAGES = ("torch", "lightning", "numpy", "pymoo")


class Report:
    """Writes the results of a run into report/index.html; the page names what is missing."""

    needs_task = False

    def run(self, context: Context) -> str:
        """Write the page, into the current folder if the run's cannot be written; may be repeated."""
        page = rendered(gather(context.run))
        path = context.run.directory / PAGE
        try:
            files.write_text(path, page)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            # the run can be looked at, though nothing can be written into it
            path = Path(f"{context.run.name}-report.html").absolute()
            files.write_text(path, page)
            return f"The run's folder cannot be written ({error.strerror}). Report: {path}"
        log_artifacts(context, "report", "report", [path])
        return f"Report: {path}"


def rendered(sources: Sources) -> str:
    """The page; a file whose content cannot be shown is left out, and named on the page and in the log."""
    try:
        return render(sources)
    except files.SHAPES as error:
        _LOG.info("Rendering the report", exc_info=error)
        nothing: dict[str, Any] = dict.fromkeys(_FILES)
        shown = replace(sources, retrained={}, **nothing)
        render(shown)
    for name, relative in {**_FILES, "retrained": "retrain/*/result.json"}.items():
        one: dict[str, Any] = {name: getattr(sources, name)}
        tried = replace(shown, **one)
        try:
            render(tried)
        except files.SHAPES as error:
            shown = replace(shown, damaged=[*shown.damaged, _told(f"{relative} is damaged: {error!r}.")])
        else:
            shown = tried
    return render(shown)


def _told(damage: str) -> str:
    _LOG.warning("The report leaves out what is damaged: %s", damage)
    return damage


def gather(run: Run) -> Sources:
    """The contents of a run that a report shows; files that are torn count as missing, and are told."""
    archive, test = run.find("search/archive.sqlite"), run.find(_FILES["test"])
    facts = read(archive) if archive else None
    damaged: list[str] = []

    @cache
    def content(relative: str) -> Any:
        path = run.find(relative)
        try:
            if path is not None and relative == SELECTED:
                found = read_selection(path, archive)
                for entry in found["nets"]:
                    network_of_entry(entry)
                return found
            return None if path is None else files.read_json(path, _NEEDS.get(path.name, ()))
        except (DamagedError, UserError) as error:
            damaged.append(_told(error.message))
            return None

    return Sources(
        run=run.name,
        task=run.task,
        command=run.command,
        results=facts,
        selected=(selected := content(_FILES["selected"])),
        retrained=dict(_retrained(selected, content)),
        test=content(_FILES["test"]),
        pictures=test.with_name("pictures") if test else None,
        # a table search records the range of its table, and a multi-task search its runs
        has_network=facts is None or (facts.ideal is None and "joint" not in facts.identity),
        panel=content(_FILES["panel"]),
        rank=content(_FILES["rank"]),
        baselines=content(_FILES["baselines"]) or None,
        discovery=content(_FILES["discovery"]),
        attempts=list(_attempts(run.directory)),
        environment=list(_environment(run.directory)),
        times=list(_times(run, facts, selected, content)),
        damaged=damaged,
        shortened=shortened_in(run.directory),
        space=(space := recorded_space((facts.identity if facts else _identity(run.directory)).get("space"))),
        family=recorded_family(_identity(run.directory).get("network"), space),
    )


def _retrained(selected: Any, content: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Results of the selected networks; those of an earlier selection are left out."""
    for net in (selected or {"nets": []})["nets"]:
        result = content(f"retrain/{net['name']}/result.json")
        if result and result.get("genotype") == net["genotype"]:
            yield net["name"], result


def _attempts(directory: Path) -> Iterator[str]:
    """The commands of this run without reports, so that a page can be rebuilt."""
    for attempt in attempts_of(directory):
        try:
            overrides = typed(attempt)
        except UserError as error:
            _LOG.warning("The report leaves out a command: %s", error.message)
            continue
        if not set(_OWN) & set(overrides):
            yield command(*overrides)


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


def _times(
    run: Run, facts: SearchResults | None, selected: Any, content: Callable[[str], Any]
) -> Iterator[tuple[str, str]]:
    for stage, seconds in stage_seconds(run.directory).items():
        yield f"stage {stage}", human_time(seconds)
    teacher = content("teacher/result.json")
    if teacher:
        yield "training the teacher", human_time(teacher["seconds"])
    if facts:
        yield "measuring in the search, summed over workers", human_time(facts.seconds)
        with Archive.read(run.need("search/archive.sqlite", made_by="search")) as archive:
            counts = image_evaluations(archive)
        if counts is not None and counts[1]:
            yield "image evaluations of the race", f"{counts[0] / counts[1]:.0%} of those of full evaluation"
    for name, result in _retrained(selected, content):
        yield f"retraining {name}", human_time(result["seconds"])
