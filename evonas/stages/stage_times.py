"""The stages of a run and their times, as recorded in the folders of its commands."""

from collections.abc import Iterator
from pathlib import Path

from evonas import deprecated, files
from evonas.run import ATTEMPTS, END, Run, typed
from evonas.stages import PIPELINES, READS_ONLY

TIMES = "times.json"


def note_seconds(run: Run, stage: str, seconds: float) -> None:
    """Append a finished stage to the times of a pipeline; does nothing where commands are not recorded."""
    if run.attempt is None:
        return
    path = run.attempt / TIMES
    known = files.read_json(path) if path.exists() else []
    files.write_json(path, [*known, {"stage": stage, "seconds": round(seconds, 3)}])


def stage_seconds(directory: Path) -> dict[str, float]:
    """Seconds of each stage, summed over all commands of a run, in the order in which they first ended.

    Commands that failed, were killed or only read do not count.
    """
    total: dict[str, float] = {}
    for attempt in sorted((directory / ATTEMPTS).glob("*")):
        for stage, seconds in _stages(attempt):
            if stage not in READS_ONLY:
                total[stage] = total.get(stage, 0.0) + seconds
    return total


def stage_typed(attempt: Path) -> str:
    """The present name of the stage of a command; without it, `run`."""
    named = [each.removeprefix("stage=") for each in typed(attempt) if each.startswith("stage=")]
    return deprecated.option("stage", named[-1]) if named else "run"


def _stages(attempt: Path) -> Iterator[tuple[str, float]]:
    """The finished stages of a pipeline, or the one stage of a command that ended well."""
    if (attempt / TIMES).exists():
        yield from ((each["stage"], float(each["seconds"])) for each in files.read_json(attempt / TIMES))
        return
    stage = stage_typed(attempt)
    is_single = stage not in PIPELINES and (attempt / END).exists()
    ended = files.read_json(attempt / END) if is_single else {"code": 1}
    if ended["code"] == 0 and "seconds" in ended:
        yield stage, float(ended["seconds"])
