"""What each stage of a run took, kept beside the command that ran it."""

from pathlib import Path

from evonas import files
from evonas.run import Run

TIMES = "times.json"


def note_seconds(run: Run, stage: str, seconds: float) -> None:
    """Add a stage that ended to the times of this command; nothing where commands are not recorded.

    The times are a list, which keeps the order in which stages ended.
    """
    if run.attempt is None:
        return
    path = run.attempt / TIMES
    known = files.read_json(path) if path.exists() else []
    files.write_json(path, [*known, {"stage": stage, "seconds": round(seconds, 3)}])


def stage_seconds(directory: Path) -> dict[str, float]:
    """Seconds of each stage, summed over all commands of a run, in the order in which they first ended."""
    total: dict[str, float] = {}
    for path in sorted((directory / "attempts").glob(f"*/{TIMES}")):
        for ended in files.read_json(path):
            total[ended["stage"]] = total.get(ended["stage"], 0.0) + float(ended["seconds"])
    return total
