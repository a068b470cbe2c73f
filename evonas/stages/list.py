"""stage=list: all runs, their results, and how their last commands ended."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from evonas import lock
from evonas.errors import EvoNASError
from evonas.report.analysis.baseline_gain import gain_in
from evonas.report.archive_reader import read
from evonas.run import ATTEMPTS, LOCK, exit_code, list_runs
from evonas.stages import READS_ONLY
from evonas.stages.base import Context
from evonas.stages.searching.reuse import ARCHIVE
from evonas.stages.stage_times import stage_typed
from evonas.track.console import print_table
from evonas.track.progress import human_time

COLUMNS = ("run", "task", "stage", "state", "points", "hypervolume", "best", "over baselines", "age", "size")
_STOPPED = {130, 143}


@dataclass(frozen=True, slots=True)
class Row:
    """One run; `state` is running, done, stopped (by a signal), failed or interrupted (killed).

    Args:
        stage: of the last command that may change the run.
        points: networks with all objectives known; None without a search.
        hypervolume: as a share of the search's own box.
        metric: the name of the first objective's metric, such as mIoU.
        best: its best value.
        over_baselines: at how many selected networks' costs the search is better than its baselines, as `3 of 4`; None
            without baselines.
        seconds: since the run was created.
        megabytes: on the disk.
    """

    run: str
    task: str
    stage: str
    state: str
    points: int | None
    hypervolume: float | None
    metric: str | None
    best: float | None
    over_baselines: str | None
    seconds: float
    megabytes: float


class List:
    """Lists the runs; changes nothing and may be used while they are written.

    Args:
        json: print rows as JSON, ages in seconds and sizes in megabytes.
    """

    needs_task = False

    def __init__(self, json: bool = False) -> None:
        self.json = json

    def run(self, context: Context) -> str:
        """Print a line for every run, oldest first; returns the command that reports the newest."""
        rows = list(listed(Path(context.cfg.outputs)))
        if self.json:
            return json.dumps([asdict(row) for row in rows], indent=2)
        if not rows:
            return f"No run in {context.cfg.outputs}. Make one with: python -m evonas +task=synthetic"
        cells = [
            [
                row.run,
                row.task,
                row.stage,
                row.state,
                "-" if row.points is None else str(row.points),
                "-" if row.hypervolume is None else f"{row.hypervolume:.4f}",
                "-" if row.best is None else f"{row.metric} {row.best:.4g}",
                row.over_baselines or "-",
                human_time(row.seconds),
                f"{row.megabytes:.1f} MB",
            ]
            for row in rows
        ]
        print_table("", COLUMNS, cells)
        return "Next: python -m evonas report run=last"


def listed(outputs: Path) -> Iterator[Row]:
    """A row for every run in the folder, oldest first."""
    for identity in list_runs(outputs):
        directory = Path(identity["directory"])
        stage, state = last_command(directory)
        found = _search_results(directory / ARCHIVE)
        age = datetime.now(UTC) - datetime.fromisoformat(identity["created"])
        size = identity["bytes"] / 1e6
        task = str(identity["task"]["name"])
        gain = gain_in(directory)
        over = None if gain is None else gain.short
        yield Row(directory.name, task, stage, state, *found, over, age.total_seconds(), size)


def last_command(directory: Path) -> tuple[str, str]:
    """The stage of the last command that may have changed the run, and its state."""
    attempts = [(stage_typed(path), path) for path in sorted((directory / ATTEMPTS).glob("*"))]
    working = [each for each in attempts if each[0] not in READS_ONLY]
    if not working:
        return "-", "new"
    stage, attempt = working[-1]
    if lock.holder(directory / LOCK) is not None:
        return stage, "running"
    code = exit_code(attempt)
    if code is None:
        return stage, "interrupted"
    return stage, "stopped" if code in _STOPPED else "failed" if code else "done"


def _search_results(archive: Path) -> tuple[int | None, float | None, str | None, float | None]:
    """Points, hypervolume, metric and its best value of a search; None without an archive that can be read."""
    if not archive.exists():
        return None, None, None, None
    try:
        facts = read(archive)
    except EvoNASError:
        return None, None, None, None
    metric = facts.metrics[0]
    best = metric.best(facts.shown[:, 0]) if len(facts.values) else None
    return len(facts.values), facts.hypervolume, metric.name, best
