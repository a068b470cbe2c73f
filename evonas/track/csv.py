"""Metrics in a CSV file with one line per value."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from evonas import files


class CsvTracker:
    """Appends `step,name,value` lines to `metrics.csv` in the stage's folder.

    After a resume a step may appear again; the last line is valid.
    """

    def __init__(self, folder: Path, run: str, stage: str) -> None:
        self.run, self.stage = run, stage
        self.path = Path(folder) / "metrics.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self.path)
        self._stream = os.fdopen(files.open_to_append(self.path), "a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._stream, lineterminator="\n")
        if self._stream.tell() == 0:
            self._rows.writerow(["step", "name", "value"])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values and flush the file."""
        self._rows.writerows((step, name, repr(float(value))) for name, value in values.items())
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _drop_torn_line(path: Path) -> None:
    """Remove an incomplete last line left by a crash."""
    if not path.exists():
        return
    with os.fdopen(files.open_to_change(path), "r+b") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)
