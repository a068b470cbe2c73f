"""The event log: when each worker began and ended each task, on which device; the proof of isolation.

Written by the driver, which starts and stops everything. A start is noted when a task was handed over, a stop
when its answer was heard or its process is gone, so what a span says of another's end is true of the work
itself: whoever was handed over after a stop began after it. Lines are JSON:
`{"t", "driver", "event", "what", "seqs", "genotypes", "worker", "device"}`, `t` in seconds of the monotonic
clock, `event` start or stop, `what` shared, exclusive or setup; several genotypes are measured in one pass.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evonas.evaluate.engine import Job

EVENTS = "events.jsonl"
LOG_BYTES = 5_000_000


class EventLog:
    """Appends events to a file of at most `LOG_BYTES`, keeping one older file beside it.

    Args:
        path: of the file, or None to note nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def start(self, jobs: Sequence[Job], worker: str, device: str) -> None:
        """A worker begins jobs of one part in one pass, or, without any, its setup."""
        self._note("start", jobs, worker, device)

    def stop(self, jobs: Sequence[Job], worker: str, device: str) -> None:
        """What the worker had begun has ended, in whatever way."""
        self._note("stop", jobs, worker, device)

    def _note(self, event: str, jobs: Sequence[Job], worker: str, device: str) -> None:
        if self._path is None:
            return
        about = {"t": time.monotonic(), "driver": os.getpid(), "event": event}
        seqs, genotypes = [job.seq for job in jobs], [job.genotype for job in jobs]
        task = {"what": jobs[0].part, "seqs": seqs, "genotypes": genotypes} if jobs else {"what": "setup"}
        line = json.dumps({**about, **task, "worker": worker, "device": device})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > LOG_BYTES:
            self._path.replace(self._path.with_suffix(".old.jsonl"))
        # one write of one line: a reader never sees half of it, and a crash leaves whole lines
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class Span:
    """One task from start to stop, in seconds of the monotonic clock."""

    what: str
    seqs: tuple[int, ...]
    worker: str
    device: str
    began: float
    ended: float


def spans(path: Path) -> Iterator[Span]:
    """Everything that both began and ended, in the order of the ends; what a crash cut off is left out."""
    begun: dict[tuple[int, str], dict[str, object]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        key = event["driver"], event["worker"]
        if event["event"] == "start":
            begun[key] = event
        elif (first := begun.pop(key, None)) is not None:
            seqs = tuple(event.get("seqs", ()))
            began = float(str(first["t"]))
            yield Span(event["what"], seqs, event["worker"], event["device"], began, event["t"])


def disturbed(found: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Pairs of an exclusive task and another of ours that was on its device at the same time."""
    everything = sorted(found, key=lambda span: span.began)
    pairs = []
    for index, span in enumerate(everything):
        for other in everything[index + 1 :]:
            if other.began >= span.ended:
                break
            if span.device == other.device and "exclusive" in (span.what, other.what):
                pairs.append((span, other))
    return pairs
