"""The inline engine: everything in this process, one job after the other.

For debugging and for tests. It has no deadline, and an evaluator that kills its process kills the search;
the local engine has neither weakness.
"""

import time
from collections.abc import Iterable, Iterator

from evonas.evaluate.engine import PARTS, EvaluatorLike, Job, Outcome
from evonas.evaluate.measure import EvaluatorSpec, attempt, ready_evaluator


class InlineEngine:
    """Measures in the calling process.

    Args:
        evaluator: config with `_target_`, or a factory.
    """

    def __init__(self, evaluator: EvaluatorSpec) -> None:
        self._spec = evaluator
        self._evaluator: EvaluatorLike | None = None

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
        begin = time.monotonic()
        measurement, reason = attempt(self._evaluator, job.genotype, job.part)
        return Outcome(job, measurement, reason, time.monotonic() - begin, "inline")
