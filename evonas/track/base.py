"""The contract of trackers, which log the metrics of a stage.

A tracker is built with the keywords `folder` (the stage's folder), `run` (name of the run) and `stage`, and with
the keys of its YAML file. `scalars` takes a non-negative step that never decreases within one attempt, and
floats by name; when it returns, the values are on disk or in transmission. `close` may be called twice. A
tracker may raise or block: stages wrap it in `GuardedTracker`, so that it never stops, delays or changes the
work.

A tracker that takes the settings of a command has `describe` (`DescribedTracker`). It is called once and first, so that
a store that cannot be reached or written is told when the stage begins and not when it ends. A tracker that needs an
optional package has a static method `require`, which raises a UserError without it.

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


@runtime_checkable
class DescribedTracker(Tracker, Protocol):
    """A tracker that records the settings of the command; `settings` are by dotted key, without secrets."""

    def describe(self, settings: Mapping[str, Any]) -> None: ...


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
        patience: how long `close` waits without one queued entry being processed, in seconds: the whole wait grows
            with what is queued.
        settings: of the command, for a `DescribedTracker`.
    """

    def __init__(
        self, tracker: Tracker, patience: float = 60.0, settings: Mapping[str, Any] | None = None
    ) -> None:
        self._tracker, self._patience = tracker, patience
        self._processed = 0
        self._entries: queue.Queue[Entry | None] = queue.Queue(_QUEUE_SIZE)
        self._is_working = True
        self._thread = threading.Thread(target=self._process, name="tracker", daemon=True)
        self._thread.start()
        if settings is not None and isinstance(tracker, DescribedTracker):
            self._enqueue("describe", dict(settings))

    @property
    def keeps_artifacts(self) -> bool:
        """Whether tables and files are logged and not discarded."""
        return isinstance(self._tracker, ArtifactTracker)

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
        """Let the tracker process the queue, as long as it processes an entry every `patience` seconds."""
        if not self._thread.is_alive():
            return
        try:
            self._entries.put(None, timeout=self._patience)
        except queue.Full:
            return
        before = -1
        while self._thread.is_alive() and self._processed != before:
            before = self._processed
            self._thread.join(self._patience)
        if self._thread.is_alive():
            # the last entry is the end of the queue
            left = max(self._entries.qsize() - 1, 0)
            self._disable(
                f"it processed nothing for {self._patience:g} s, and {left} of its entries are lost; "
                "tracker_patience_s sets how long it may take"
            )

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
                self._processed += 1
            self._tracker.close()
        except Exception as error:
            self._disable(f"{type(error).__name__}: {error}")

    def _disable(self, reason: str) -> None:
        if self._is_working:
            self._is_working = False
            _LOG.warning("%s is switched off: %s", type(self._tracker).__name__, reason)


class TrackerGroup:
    """Several guarded trackers of one stage, which get the same entries; a failing one does not affect the others."""

    def __init__(self, trackers: Sequence[GuardedTracker]) -> None:
        self.trackers = tuple(trackers)

    @property
    def keeps_artifacts(self) -> bool:
        """Whether any of them logs tables and files."""
        return any(each.keeps_artifacts for each in self.trackers)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Queue values for all; returns at once."""
        for each in self.trackers:
            each.scalars(step, values)

    def table(self, results: Results) -> None:
        """Queue a table for those that log tables; returns at once."""
        for each in self.trackers:
            each.table(results)

    def artifact(self, kind: str, files: Sequence[Path]) -> None:
        """Queue files for those that log files; returns at once."""
        for each in self.trackers:
            each.artifact(kind, files)

    def close(self) -> None:
        """Let every tracker process its queue; the queues empty side by side."""
        for each in self.trackers:
            each.close()
