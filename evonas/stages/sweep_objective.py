"""The one number by which a sweeper judges a command; smaller is better. Never imports torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from evonas import files
from evonas.report.archive_reader import read
from evonas.run import Run

ARCHIVE, PANEL, SELECTED = "search/archive.sqlite", "supernet/panel.json", "selected.json"


def outcome(run: Run, stage: str) -> float | None:
    """What a command has come to, from the files that it left in its run; None where no number says it.

    One minus the hypervolume for a search and for everything, the mean error of the panel for a supernet,
    and the mean error of the chosen networks on the holdout split once they are retrained.
    """
    measure = _OUTCOMES.get(stage)
    return None if measure is None else measure(run.directory)


def _beyond_the_front(run: Path) -> float | None:
    if not (run / ARCHIVE).exists():
        return None
    share = read(run / ARCHIVE).hypervolume
    return None if share is None else 1.0 - share


def _of_panel(run: Path) -> float | None:
    if not (run / PANEL).exists():
        return None
    content: Mapping[str, Any] = files.read_json(run / PANEL)
    last = content["steps"][-1]["panel"] if content["steps"] else []
    return fmean(row["metrics"][content["error_name"]] for row in last) if last else None


def _of_retrained(run: Path) -> float | None:
    selected = files.read_json(run / SELECTED)
    found = [files.read_json(run / f"retrain/{net['name']}/result.json") for net in selected["nets"]]
    return fmean(each["retrained"][selected["error_name"]] for each in found) if found else None


_OUTCOMES: Mapping[str, Callable[[Path], float | None]] = {
    "run": _beyond_the_front,
    "search": _beyond_the_front,
    "supernet": _of_panel,
    "retrain": _of_retrained,
}
