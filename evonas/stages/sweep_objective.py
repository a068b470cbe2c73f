"""The number that a sweeper minimises over commands. Never imports torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from evonas import files
from evonas.report.archive_reader import read
from evonas.run import Run

ARCHIVE, PANEL, SELECTED = "search/archive.sqlite", "supernet/panel.json", "selected.json"


def outcome(run: Run, stage: str) -> float | None:
    """The result of a command, from the files in its run; None for stages without a number.

    One minus the hypervolume for a search and for a pipeline, the mean error of the validation panel for a supernet,
    and the mean validation error of the retrained networks for a retraining.
    """
    measure = _OUTCOMES.get(stage)
    return None if measure is None else measure(run.directory)


def _missing_hypervolume(run: Path) -> float | None:
    if not (run / ARCHIVE).exists():
        return None
    share = read(run / ARCHIVE).hypervolume
    return None if share is None else 1.0 - share


def _panel_error(run: Path) -> float | None:
    if not (run / PANEL).exists():
        return None
    content: Mapping[str, Any] = files.read_json(run / PANEL)
    last = content["steps"][-1]["panel"] if content["steps"] else []
    return fmean(row["metrics"][content["error_name"]] for row in last) if last else None


def _retrained_error(run: Path) -> float | None:
    selected = files.read_json(run / SELECTED)
    found = [files.read_json(run / f"retrain/{net['name']}/result.json") for net in selected["nets"]]
    return fmean(each["retrained"][selected["error_name"]] for each in found) if found else None


_OUTCOMES: Mapping[str, Callable[[Path], float | None]] = {
    "run": _missing_hypervolume,
    "preview": _missing_hypervolume,
    "search": _missing_hypervolume,
    "supernet": _panel_error,
    "retrain": _retrained_error,
}
