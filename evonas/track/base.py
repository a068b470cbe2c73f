"""What a tracker is: it listens to the numbers of a stage.

The contract. A tracker is built with the keywords `folder` (the stage's folder), `run` (name
of the run) and `stage`, besides the keys of its YAML file. `scalars` receives a
non-negative step that never decreases within one attempt, and plain floats by name; what it
was given is on disk, or on its way, when it returns. `close` may be called twice. A tracker
may raise or block: stages hold it through `Guarded`, because whatever listens must never
stop, slow or change the work.

A tracker whose YAML file has the key `artifacts` also keeps results (`Keeping`): tables with
charts, and files of the kinds that the key lists.
"""

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

_LOG = logging.getLogger(__name__)
_WAITING = 10_000

# the name of a tracker's method, and what it is called with
Entry = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Chart:
    """Two columns of a table against each other, as points or as a line."""

    title: str
    x: str
    y: str
    is_line: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """A table of numbers and words, with the charts that show it."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    charts: Sequence[Chart] = ()


@runtime_checkable
class Tracker(Protocol):
    """See the module's contract."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class Keeping(Tracker, Protocol):
    """A tracker that keeps results as well; `kind` is archive, genotypes, checkpoint or report."""

    def table(self, results: Results) -> None: ...

    def artifact(self, kind: str, files: Sequence[Path]) -> None: ...


class Silent:
    """A tracker that forgets everything."""

    def __init__(self, folder: Path, run: str, stage: str) -> None:
        self.described = (folder, run, stage)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Forget."""

    def close(self) -> None:
        """Nothing to close."""


class Guarded:
    """A tracker that cannot hurt: it listens on a thread of its own.

    After its first error it is disabled, with one warning. When it blocks, numbers wait for it
    up to a bound and are then dropped, and closing gives it up after `patience` seconds.
    """

    def __init__(self, tracker: Tracker, patience: float = 5.0) -> None:
        self._tracker, self._patience = tracker, patience
        self._entries: queue.Queue[Entry | None] = queue.Queue(_WAITING)
        self._is_working = True
        self._thread = threading.Thread(target=self._listen, name="tracker", daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Hand the numbers over; returns at once."""
        self._hand_over("scalars", step, dict(values))

    def table(self, results: Results) -> None:
        """Hand results over to a tracker that keeps them; returns at once."""
        if isinstance(self._tracker, Keeping):
            self._hand_over("table", results)

    def artifact(self, kind: str, files: Sequence[Path]) -> None:
        """Hand files over to a tracker that keeps them; returns at once."""
        if isinstance(self._tracker, Keeping):
            self._hand_over("artifact", kind, tuple(files))

    def close(self) -> None:
        """Let the tracker finish what it was given, within its patience."""
        if not self._thread.is_alive():
            return
        try:
            self._entries.put(None, timeout=self._patience)
        except queue.Full:
            return
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._disable(f"it did not close within {self._patience:g} s")

    def _hand_over(self, method: str, *given: Any) -> None:
        if not self._is_working:
            return
        try:
            self._entries.put_nowait((method, given))
        except queue.Full:
            self._disable("it does not keep up")

    def _listen(self) -> None:
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
