"""The contract of trackers, which log the metrics of a stage.

A tracker is built with the keywords `folder` (the stage's folder), `run` (name of the run) and `stage`, and with
the keys of its YAML file. `scalars` takes a non-negative step that never decreases within one attempt, and
floats by name; when it returns, the values are on disk or in transmission. `close` may be called twice. A
tracker may raise or block: stages wrap it in `GuardedTracker`, so that it never stops, delays or changes the
work.

A tracker whose YAML file has the key `artifacts` also logs results (`ArtifactTracker`): tables with charts, and
files of the kinds that the key lists.
"""

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

_LOG = logging.getLogger(__name__)
_QUEUE_SIZE = 10_000

# name of a tracker's method, and its arguments
Entry = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A scatter or line plot of two columns of a table."""

    title: str
    x: str
    y: str
    is_line: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """A table with its charts."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    charts: Sequence[Chart] = ()


@runtime_checkable
class Tracker(Protocol):
    """A tracker; the module's docstring states the contract."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class ArtifactTracker(Tracker, Protocol):
    """A tracker that also logs tables and files; `kind` is archive, genotypes, checkpoint or report."""

    def table(self, results: Results) -> None: ...

    def artifact(self, kind: str, files: Sequence[Path]) -> None: ...


class Silent:
    """A tracker that discards everything."""

    def __init__(self, folder: Path, run: str, stage: str) -> None:
        self.described = (folder, run, stage)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Discard the values."""

    def close(self) -> None:
        """Do nothing."""


class GuardedTracker:
    """Runs a tracker in a thread of its own, so that its errors and delays do not affect the stage.

    The tracker is disabled with a warning after its first error, or if more than 10,000 entries are queued.

    Args:
        tracker: the tracker.
        patience: maximum time that `close` waits for the tracker, in seconds.
    """

    def __init__(self, tracker: Tracker, patience: float = 5.0) -> None:
        self._tracker, self._patience = tracker, patience
        self._entries: queue.Queue[Entry | None] = queue.Queue(_QUEUE_SIZE)
        self._is_working = True
        self._thread = threading.Thread(target=self._process, name="tracker", daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Queue values; returns at once."""
        self._enqueue("scalars", step, dict(values))

    def table(self, results: Results) -> None:
        """Queue a table for an `ArtifactTracker`; returns at once."""
        if isinstance(self._tracker, ArtifactTracker):
            self._enqueue("table", results)

    def artifact(self, kind: str, files: Sequence[Path]) -> None:
        """Queue files for an `ArtifactTracker`; returns at once."""
        if isinstance(self._tracker, ArtifactTracker):
            self._enqueue("artifact", kind, tuple(files))

    def close(self) -> None:
        """Let the tracker process the queue, for at most `patience` seconds."""
        if not self._thread.is_alive():
            return
        try:
            self._entries.put(None, timeout=self._patience)
        except queue.Full:
            return
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._disable(f"it did not close within {self._patience:g} s")

    def _enqueue(self, method: str, *given: Any) -> None:
        if not self._is_working:
            return
        try:
            self._entries.put_nowait((method, given))
        except queue.Full:
            self._disable("it does not keep up")

    def _process(self) -> None:
        try:
            while (entry := self._entries.get()) is not None:
                method, given = entry
                getattr(self._tracker, method)(*given)
            self._tracker.close()
        except Exception as error:
            self._disable(f"{type(error).__name__}: {error}")

    def _disable(self, reason: str) -> None:
        if self._is_working:
            self._is_working = False
            _LOG.warning("%s is switched off: %s", type(self._tracker).__name__, reason)
