"""Event log of workers, which proves that exclusive measurements run in isolation.

The driver writes a start event after it has sent a task, and a stop event after it has received the answer or
the process has ended. A task that was sent after a stop event therefore started after the stopped task ended.
Each line is JSON: `{"t", "driver", "event", "what", "seqs", "genotypes", "worker", "device"}`, with `t` in
seconds of the monotonic clock, `event` "start" or "stop", `what` "shared", "exclusive" or "setup", and the
genes of each genotype.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evonas import files
from evonas.evaluate.engine import Job

EVENTS = "events.jsonl"
LOG_BYTES = 5_000_000


class EventLog:
    """Appends events to a file of at most `LOG_BYTES`; one older file is kept.

    Args:
        path: path of the file; None disables the log.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def start(self, jobs: Sequence[Job], worker: str, device: str) -> None:
        """Log the start of a pass, or of the worker's setup if `jobs` is empty."""
        self._note("start", jobs, worker, device)

    def stop(self, jobs: Sequence[Job], worker: str, device: str) -> None:
        """Log the end of a pass or setup, successful or not."""
        self._note("stop", jobs, worker, device)

    def _note(self, event: str, jobs: Sequence[Job], worker: str, device: str) -> None:
        if self._path is None:
            return
        about = {"t": time.monotonic(), "driver": os.getpid(), "event": event}
        seqs, genotypes = [job.seq for job in jobs], [job.genotype.genes for job in jobs]
        task = {"what": jobs[0].part, "seqs": seqs, "genotypes": genotypes} if jobs else {"what": "setup"}
        line = json.dumps({**about, **task, "worker": worker, "device": device})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > LOG_BYTES:
            self._path.replace(self._path.with_suffix(".old.jsonl"))
        # a line is a single write, so that readers and crashes never see part of it
        handle = files.open_to_append(self._path)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class Span:
    """A pass or setup with its start and end, in seconds of the monotonic clock."""

    what: str
    seqs: tuple[int, ...]
    worker: str
    device: str
    began: float
    ended: float


def spans(path: Path) -> Iterator[Span]:
    """Read completed spans, in the order of their ends; spans cut off by a crash are left out."""
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


def overlapping(found: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Pairs of an exclusive span and another span that overlaps it on the same device."""
    everything = sorted(found, key=lambda span: span.began)
    pairs = []
    for index, span in enumerate(everything):
        for other in everything[index + 1 :]:
            if other.began >= span.ended:
                break
            if span.device == other.device and "exclusive" in (span.what, other.what):
                pairs.append((span, other))
    return pairs
