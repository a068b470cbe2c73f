"""Metrics in TensorBoard event files, written without TensorFlow or torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.errors import UserError


class TensorBoardTracker:
    """One event file per attempt in the stage's folder; TensorBoard merges those of a resumed run."""

    def __init__(self, folder: Path, run: str, stage: str) -> None:
        self.run, self.stage = run, stage
        self._writer: Any = _library().SummaryWriter(str(folder), write_to_disk=True, flush_secs=10)

    @staticmethod
    def require() -> None:
        """Raise a UserError if the package is not installed."""
        _library()

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Record the settings as a text, which TensorBoard shows as a table."""
        rows = "".join(f"|{key}|{_cell(value)}|\n" for key, value in sorted(settings.items()))
        self._writer.add_text("settings", f"|setting|value|\n|-|-|\n{rows}", 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values to the event file."""
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def _cell(value: Any) -> str:
    return str(value).replace("|", "&#124;").replace("\n", " ")


def _library() -> Any:
    try:
        import tensorboardX
    except ImportError as error:
        message = "tracker=tensorboard needs the package tensorboardX, which is not installed."
        raise UserError(message, "Install it with: pip install 'evonas[tensorboard]'") from error
    return tensorboardX
