"""stage=list: all runs, their results, and how their last commands ended."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, TypeVar

from evonas import lock
from evonas.command_text import command
from evonas.errors import EvoNASError
from evonas.foreign_errors import known_error
from evonas.report.analysis.baseline_gain import gain_in
from evonas.report.archive_reader import read
from evonas.run import LOCK, attempts_of, damaged_runs, exit_code, list_runs
from evonas.stages import READS_ONLY
from evonas.stages.base import Context
from evonas.stages.searching.reuse import ARCHIVE
from evonas.stages.stage_times import stage_typed
from evonas.track.console import print_table
from evonas.track.progress import human_time

COLUMNS = ("run", "task", "stage", "state", "points", "hypervolume", "best", "over baselines", "age", "size")
# by Ctrl-C, by a reader that went away, by SIGTERM
_STOPPED = {130, 141, 143}
_DAMAGED, _RUNNING = "damaged", "running"
_T = TypeVar("_T")
# points, hypervolume, metric and its best value
_Results: TypeAlias = tuple[int | None, float | None, str | None, float | None]
_NO_RESULTS: _Results = (None, None, None, None)


@dataclass(frozen=True, slots=True)
class Row:
    """One run; `state` is running, done, stopped (by a signal), failed, interrupted (killed) or damaged.

    Args:
        stage: of the last command that may change the run.
        points: networks with all objectives known; None without a search.
        hypervolume: as a share of the search's own box.
        metric: the name of the first objective's metric, such as mIoU.
        best: its best value.
        over_baselines: at how many selected networks' costs the search is better than its baselines, as `3 of 4`; None
            without baselines.
        seconds: since the run was created; None where that is not known.
        megabytes: on the disk, as far as its files can be seen.
        damage: what cannot be read, in sentences; the other values are what the rest of the run says.
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
    seconds: float | None
    megabytes: float
    damage: tuple[str, ...] = ()


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
            again = command("+task=synthetic", outputs=context.cfg.outputs)
            return f"No run in {context.cfg.outputs}. Make one with: {again}"
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
                "-" if row.seconds is None else human_time(row.seconds),
                f"{row.megabytes:.1f} MB",
            ]
            for row in rows
        ]
        print_table("", COLUMNS, cells)
        for row in rows:
            for sentence in row.damage:
                print(f"damaged: {row.run}: {sentence}")
        return f"Next: {command('report', 'run=last', outputs=context.cfg.outputs)}"


def listed(outputs: Path) -> Iterator[Row]:
    """A row for every run in the folder: those without a readable identity by name, then the others, oldest first.

    What is damaged in one run hides neither its other values nor other runs.
    """
    for directory, error in damaged_runs(outputs).items():
        nothing = (None, None, None, None, None, None)
        yield Row(directory.name, "-", "-", _DAMAGED, *nothing, _size(directory), (error.message,))
    for identity in list_runs(outputs):
        directory = Path(identity["directory"])
        damage: list[str] = []
        task = identity["task"]
        stage, state = _readable(damage, ("-", _DAMAGED), last_command, directory)
        found = _readable(damage, _NO_RESULTS, _search_results, directory / ARCHIVE)
        gain = _readable(damage, None, gain_in, directory)
        age = datetime.now(UTC) - datetime.fromisoformat(identity["created"])
        yield Row(
            directory.name,
            str(task["name"]) if isinstance(task, dict) and "name" in task else "-",
            stage,
            # a running command may be about to write what is missing
            state if not damage or state == _RUNNING else _DAMAGED,
            *found,
            None if gain is None else gain.short,
            age.total_seconds(),
            identity["bytes"] / 1e6,
            tuple(damage),
        )


def _readable(damage: list[str], otherwise: _T, read: Callable[[Path], _T], path: Path) -> _T:
    """What a part of a run says; where it cannot be read, `otherwise` and a sentence in `damage`.

    A run folder may be foreign, and its files of any content, so that any error is one of the files.
    """
    try:
        return read(path)
    except Exception as error:
        known = known_error(error)
        if isinstance(known, EvoNASError):
            damage.append(known.message)
        else:
            damage.append(f"a file of it is damaged ({type(error).__name__}: {error}).")
        return otherwise


def _size(directory: Path) -> float:
    """Megabytes of the files below a folder, without those that only their owner can see."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += Path(folder, name).lstat().st_size
    return total / 1e6


def last_command(directory: Path) -> tuple[str, str]:
    """The stage of the last command that may have changed the run, and its state."""
    attempts = ((stage_typed(path), path) for path in reversed(attempts_of(directory)))
    stage, attempt = next((each for each in attempts if each[0] not in READS_ONLY), ("-", None))
    if attempt is None:
        return stage, "new"
    if lock.holder(directory / LOCK) is not None:
        return stage, _RUNNING
    code = exit_code(attempt)
    if code is None:
        return stage, "interrupted"
    return stage, "stopped" if code in _STOPPED else "failed" if code else "done"


def _search_results(archive: Path) -> _Results:
    """Points, hypervolume, metric and its best value of a search; None without an archive."""
    if not archive.exists():
        return _NO_RESULTS
    facts = read(archive)
    metric = facts.metrics[0]
    best = metric.best(facts.shown[:, 0]) if len(facts.values) else None
    return len(facts.values), facts.hypervolume, metric.name, best
