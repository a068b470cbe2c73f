"""Numbers in a CSV file: one line a number, so that names may come and go."""

import csv
from collections.abc import Mapping
from pathlib import Path


class CsvTracker:
    """Appends `step,name,value` lines to `metrics.csv` in the stage's folder.

    After a resume the same step may appear again; the later line is the one that counts.
    """

    def __init__(self, folder: Path, run: str, stage: str) -> None:
        self.run, self.stage = run, stage
        self.path = Path(folder) / "metrics.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self.path)
        self._stream = self.path.open("a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._stream, lineterminator="\n")
        if self._stream.tell() == 0:
            self._rows.writerow(["step", "name", "value"])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers and hand them to the operating system."""
        self._rows.writerows((step, name, repr(float(value))) for name, value in values.items())
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _drop_torn_line(path: Path) -> None:
    """Cut a line that a crash left without its end, so that the next one does not glue to it."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
