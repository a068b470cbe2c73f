"""The stages of a run and their times, as recorded in the folders of its commands."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from evonas import deprecated, files
from evonas.errors import EvoNASError, UserError
from evonas.run import END, Run, attempts_of, exit_code, typed
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
    for attempt in attempts_of(directory):
        # a command whose record is torn is not counted
        with suppress(EvoNASError, KeyError, TypeError, ValueError):
            for stage, seconds in _stages(attempt):
                if stage not in READS_ONLY:
                    total[stage] = total.get(stage, 0.0) + seconds
    return total


def stage_typed(attempt: Path) -> str:
    """The present name of the stage of a command; without it, `run`."""
    named = [each.removeprefix("stage=") for each in typed(attempt) if each.startswith("stage=")]
    return deprecated.option("stage", named[-1]) if named else "run"


def stopped_command(directory: Path) -> Path | None:
    """The folder of the command that `resume=true` alone continues: the last working one, if it did not end well.

    A refused command has changed nothing, so the one before it counts.
    """
    for attempt in reversed(attempts_of(directory)):
        code = exit_code(attempt)
        if stage_typed(attempt) in READS_ONLY or code == UserError.exit_code:
            continue
        return attempt if code != 0 else None
    return None


def searching_commands(directory: Path) -> list[Path]:
    """The folders of the commands that searched in a run, oldest first; those that were refused did not."""
    return [
        attempt
        for attempt in attempts_of(directory)
        if stage_typed(attempt) in {"search", *PIPELINES} and exit_code(attempt) != UserError.exit_code
    ]


def has_pipeline(directory: Path) -> bool:
    """Whether a command of a run was a whole pipeline, or the run has no command yet."""
    attempts = [each for each in attempts_of(directory) if exit_code(each) != UserError.exit_code]
    working = [stage for stage in map(stage_typed, attempts) if stage not in READS_ONLY]
    return not working or bool(PIPELINES & set(working))


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
