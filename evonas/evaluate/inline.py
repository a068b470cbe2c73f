"""The inline engine: everything in this process, one job after the other.

For debugging, for tables and for tests. It has no deadline, and an evaluator that kills its process kills the
search; the local engine has neither weakness.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from evonas.evaluate.backlog import Backlog, Order, Pass
from evonas.evaluate.engine import PARTS, EvaluatorLike, Job, Outcome, Part, Together
from evonas.evaluate.events import EVENTS, EventLog
from evonas.evaluate.measure import EvaluatorSpec, attempt_together, ready_evaluator
from evonas.evaluate.supervisor import require_positive

_NAME = "inline"


class InlineEngine:
    """Measures in the calling process.

    Args:
        evaluator: config with `_target_`, or a factory.
        log_dir: where the spans of `exclusive` jobs are noted, or None; nothing else runs beside them here,
            and looking up a shared fact may take less time than writing about it.
        subnets_per_pass: how many shared jobs are measured at a time, if the evaluator measures together.
        order: of genotypes; neighbours in it share work, and are measured together.
    """

    def __init__(
        self,
        evaluator: EvaluatorSpec,
        log_dir: str | Path | None = None,
        subnets_per_pass: int = 8,
        order: Order | None = None,
    ) -> None:
        require_positive(subnets_per_pass=subnets_per_pass)
        self._spec = evaluator
        self._evaluator: EvaluatorLike | None = None
        self._events = EventLog(None if log_dir is None else Path(log_dir) / EVENTS)
        self._limit = subnets_per_pass
        self._backlogs: dict[Part, Backlog] = {part: Backlog(order) for part in PARTS}

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome per job, shared ones first; abandoning the iterator forgets what is left."""
        self.submit(jobs)
        try:
            while any(self._backlogs.values()):
                for part in PARTS:
                    yield from self._drain(part)
        finally:
            for backlog in self._backlogs.values():
                backlog.clear()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Let more jobs wait; those that are running end first."""
        for job in jobs:
            self._backlogs[job.part].add([job])

    def close(self) -> None:
        """Let the evaluator go."""
        self._evaluator = None

    def _drain(self, part: Part) -> Iterator[Outcome]:
        backlog = self._backlogs[part]
        while backlog:
            if self._evaluator is None:
                self._evaluator = ready_evaluator(self._spec)
            is_single = part == "exclusive" or not isinstance(self._evaluator, Together)
            taken = backlog.take(workers=1, limit=1 if is_single else self._limit)
            assert taken is not None
            yield from self._measure(self._evaluator, taken)

    def _measure(self, evaluator: EvaluatorLike, taken: Pass) -> list[Outcome]:
        jobs, part = taken.jobs, taken.jobs[0].part
        is_noted = part == "exclusive"
        if is_noted:
            self._events.start(jobs, _NAME, "cpu")
        begin = time.monotonic()
        found = attempt_together(evaluator, [job.genotype for job in jobs], part, taken.images)
        if is_noted:
            self._events.stop(jobs, _NAME, "cpu")
        seconds = (time.monotonic() - begin) / len(jobs)
        return [Outcome(job, *each, seconds, _NAME) for job, each in zip(jobs, found, strict=True)]
