"""The inline engine: runs jobs sequentially in the calling process.

It serves debugging, table benchmarks and tests. It has no deadline, and an evaluator that kills its process
kills the search; use the local engine otherwise. A measurement that raises is tried again with a new evaluator, which
must measure a genotype that was measured before, where there is one.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from evonas.errors import EngineError
from evonas.evaluate.backlog import Backlog, Order, Pass
from evonas.evaluate.engine import PARTS, BatchEvaluator, EvaluatorLike, Job, Measurement, Outcome, Part
from evonas.evaluate.events import EVENTS, EventLog
from evonas.evaluate.measure import EvaluatorSpec, Failure, attempt_together, ready_evaluator
from evonas.evaluate.supervisor import PAUSES_S, require_positive

_NAME = "inline"


class InlineEngine:
    """An engine that measures in the calling process.

    Args:
        evaluator: config with `_target_`, or a factory.
        log_dir: folder of the event log of exclusive jobs, or None. Shared jobs are not logged, since a
            table lookup is faster than a log entry.
        subnets_per_pass: maximum number of shared jobs per pass, if the evaluator is a `BatchEvaluator`.
        order: sort key of genotypes; neighbours share computation and are measured in one pass.
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
        self._controls: dict[Part, Job] = {}

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield one outcome per job, shared jobs first; closing the iterator drops the remaining jobs."""
        self.submit(jobs)
        try:
            while any(self._backlogs.values()):
                for part in PARTS:
                    yield from self._drain(part)
        finally:
            for backlog in self._backlogs.values():
                backlog.clear()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs; running jobs finish first."""
        for job in jobs:
            self._backlogs[job.part].add([job])

    def close(self) -> None:
        """Release the evaluator."""
        self._evaluator = None

    def _drain(self, part: Part) -> Iterator[Outcome]:
        backlog = self._backlogs[part]
        while backlog:
            if self._evaluator is None:
                self._evaluator = ready_evaluator(self._spec)
            is_single = part == "exclusive" or not isinstance(self._evaluator, BatchEvaluator)
            taken = backlog.take(workers=1, limit=1 if is_single else self._limit)
            assert taken is not None
            yield from self._measure(self._evaluator, taken)

    def _measure(self, evaluator: EvaluatorLike, taken: Pass) -> list[Outcome]:
        jobs, part = taken.jobs, taken.jobs[0].part
        is_logged = part == "exclusive"
        if is_logged:
            self._events.start(jobs, _NAME, "cpu")
        begin = time.monotonic()
        found = attempt_together(evaluator, [job.genotype for job in jobs], part, taken.images)
        if is_logged:
            self._events.stop(jobs, _NAME, "cpu")
        seconds = (time.monotonic() - begin) / len(jobs)
        measured = [job for job, each in zip(jobs, found, strict=True) if isinstance(each, Measurement)]
        self._controls |= {part: measured[0]} if measured else {}
        outcomes = [_outcome(job, each, seconds) for job, each in zip(jobs, found, strict=True)]
        unsure = [isinstance(each, Failure) and each.owner is None for each in found]
        return [
            self._try_again(outcome) if again else outcome
            for outcome, again in zip(outcomes, unsure, strict=True)
        ]

    def _try_again(self, failed: Outcome) -> Outcome:
        """Measure a job whose measurement raised once more, with an evaluator that has passed a control."""
        begin = time.monotonic()
        found = self._checked_attempt(failed.job)
        seconds = failed.seconds + time.monotonic() - begin
        return replace(_outcome(failed.job, found, seconds), attempts=2)

    def _checked_attempt(self, job: Job) -> Measurement | Failure:
        control, reason = self._controls.get(job.part), ""
        for pause in PAUSES_S:
            time.sleep(pause)
            self._evaluator = ready_evaluator(self._spec)
            found = self._attempt(control) if control is not None else None
            if not isinstance(found, Failure):
                return self._attempt(job)
            reason = found.reason
        raise EngineError(
            f"Nothing can be measured any more, not even a genotype that was measured before: {reason}",
            "See what is wrong with the machine, then repeat the command with resume=true; what was measured is kept, "
            "and nothing failed for this.",
        )

    def _attempt(self, job: Job) -> Measurement | Failure:
        assert self._evaluator is not None
        [found] = attempt_together(self._evaluator, [job.genotype], job.part, job.images)
        return found


def _outcome(job: Job, found: Measurement | Failure, seconds: float) -> Outcome:
    if isinstance(found, Failure):
        return Outcome(job, None, found.reason, seconds, _NAME, owner=found.owner or "genotype")
    return Outcome(job, found, "", seconds, _NAME)
