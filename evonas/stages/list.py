"""stage=list: every run there is, what it holds, and how its last command ended."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from evonas import lock
from evonas.errors import EvoNASError
from evonas.report.archive_reader import read
from evonas.run import ATTEMPTS, LOCK, exit_code, list_runs
from evonas.stages import READS_ONLY
from evonas.stages.base import Context
from evonas.stages.searching.reuse import ARCHIVE
from evonas.stages.stage_times import stage_typed
from evonas.track.console import print_table
from evonas.track.progress import human_time

COLUMNS = ("run", "task", "stage", "state", "points", "hypervolume", "best", "age", "size")
_STOPPED = {130, 143}


@dataclass(frozen=True, slots=True)
class Row:
    """One run; `state` is running, done, stopped (by a signal), failed or interrupted (killed).

    Args:
        stage: of the last command that may change the run.
        points: networks whose every objective is known; None without a search.
        hypervolume: the share of the search's own box.
        metric: the metric as which people read the first objective, such as mIoU.
        best: its best value.
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
    seconds: float
    megabytes: float


class List:
    """Reads the runs and changes nothing; may be used while they work.

    Args:
        json: print rows as JSON, ages in seconds and sizes in megabytes.
    """

    needs_task = False

    def __init__(self, json: bool = False) -> None:
        self.json = json

    def run(self, context: Context) -> str:
        """Print a line for every run, oldest first; the command that looks at the newest."""
        rows = list(listed(Path(context.cfg.outputs)))
        if self.json:
            return json.dumps([asdict(row) for row in rows], indent=2)
        if not rows:
            return f"No run in {context.cfg.outputs}. Make one with: python -m evonas +task=synthetic"
        print_table("", COLUMNS, [_cells(row) for row in rows])
        return "Next: python -m evonas report run=last"


def listed(outputs: Path) -> Iterator[Row]:
    """A row for every run in the folder, oldest first."""
    for identity in list_runs(outputs):
        directory = Path(identity["directory"])
        stage, state = last_command(directory)
        found = _found(directory / ARCHIVE)
        age = datetime.now(UTC) - datetime.fromisoformat(identity["created"])
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6
        task = str(identity["task"]["name"])
        yield Row(directory.name, task, stage, state, *found, age.total_seconds(), size)


def last_command(directory: Path) -> tuple[str, str]:
    """The stage of the last command that may change a run, and its state."""
    attempts = [(stage_typed(path), path) for path in sorted((directory / ATTEMPTS).glob("*"))]
    working = [each for each in attempts if each[0] not in READS_ONLY]
    if not working:
        return "-", "new"
    stage, attempt = working[-1]
    if lock.holder(directory / LOCK) is not None:
        return stage, "running"
    return stage, _state(exit_code(attempt))


def _state(code: int | None) -> str:
    if code is None:
        return "interrupted"
    return "stopped" if code in _STOPPED else "failed" if code else "done"


def _found(archive: Path) -> tuple[int | None, float | None, str | None, float | None]:
    """Points, hypervolume, metric and its best value of a search; all None if there is none that can be read."""
    if not archive.exists():
        return None, None, None, None
    try:
        facts = read(archive)
    except EvoNASError:
        return None, None, None, None
    metric = facts.metrics[0]
    best = metric.best(facts.shown[:, 0]) if len(facts.values) else None
    return len(facts.values), facts.hypervolume, metric.name, best


def _cells(row: Row) -> list[str]:
    points = "-" if row.points is None else str(row.points)
    share = "-" if row.hypervolume is None else f"{row.hypervolume:.4f}"
    best = "-" if row.best is None else f"{row.metric} {row.best:.4g}"
    about = [row.run, row.task, row.stage, row.state, points, share, best]
    return [*about, human_time(row.seconds), f"{row.megabytes:.1f} MB"]
