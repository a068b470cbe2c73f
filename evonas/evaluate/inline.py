"""The inline engine: everything in this process, one job after the other.

For debugging, for tables and for tests. It has no deadline, and an evaluator that kills its process kills the
search; the local engine has neither weakness.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from evonas.evaluate.engine import PARTS, EvaluatorLike, Job, Outcome
from evonas.evaluate.events import EVENTS, EventLog
from evonas.evaluate.measure import EvaluatorSpec, attempt, ready_evaluator

_NAME = "inline"


class InlineEngine:
    """Measures in the calling process.

    Args:
        evaluator: config with `_target_`, or a factory.
        log_dir: where the spans of `exclusive` jobs are noted, or None; nothing else runs beside them here,
            and looking up a shared fact may take less time than writing about it.
    """

    def __init__(self, evaluator: EvaluatorSpec, log_dir: str | Path | None = None) -> None:
        self._spec = evaluator
        self._evaluator: EvaluatorLike | None = None
        self._events = EventLog(None if log_dir is None else Path(log_dir) / EVENTS)

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome per job: shared ones first, in the order given."""
        waiting = list(jobs)
        for part in PARTS:
            for job in waiting:
                if job.part == part:
                    yield self._measure(job)

    def close(self) -> None:
        """Let the evaluator go."""
        self._evaluator = None

    def _measure(self, job: Job) -> Outcome:
        if self._evaluator is None:
            self._evaluator = ready_evaluator(self._spec)
        is_noted = job.part == "exclusive"
        if is_noted:
            self._events.start(job, _NAME, "cpu")
        begin = time.monotonic()
        measurement, reason = attempt(self._evaluator, job.genotype, job.part)
        if is_noted:
            self._events.stop(job, _NAME, "cpu")
        return Outcome(job, measurement, reason, time.monotonic() - begin, _NAME)
