"""The local engine: a supervisor over worker processes on this machine.

It watches pipes, processes and a deadline per job on the monotonic clock. It has no queue that a dead worker
could take along: a job lives in the supervisor until its outcome is yielded.
"""

import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Job, Measurement, Outcome
from evonas.evaluate.measure import EvaluatorSpec, checked, explain
from evonas.evaluate.process import Limits, Task, Worker, WorkerLostError

# a death can go unseen by the pipe for this long, where a grandchild holds it open
_LOOK_S = 0.5


class LocalEngine:
    """Supervised workers; each measures one job at a time and asks for the next when done.

    Args:
        evaluator: config with `_target_`, or a picklable factory from an importable module.
        workers: processes for the `shared` part; the `exclusive` part uses the first one alone.
        threads_per_worker: what OMP and MKL are told before the worker starts.
        deadline_s: seconds one measurement may take.
        tries: how often a job may lose its worker before it is failed.
        memory_gb: address space a worker may have, or None. Loading torch alone takes some GB of it.
        log_dir: where workers print to, at most a few MB each; None discards what they print.
        setup_s: seconds a worker may take to set up its evaluator.
    """

    def __init__(
        self,
        evaluator: EvaluatorSpec,
        workers: int = 2,
        threads_per_worker: int = 1,
        deadline_s: float = 600.0,
        tries: int = 3,
        memory_gb: float | None = None,
        log_dir: str | Path | None = None,
        setup_s: float = 600.0,
    ) -> None:
        _require(workers=workers, threads_per_worker=threads_per_worker, deadline_s=deadline_s, tries=tries)
        limits = Limits(threads_per_worker, memory_gb, None if log_dir is None else Path(log_dir))
        self._workers = [Worker(index, evaluator, limits) for index in range(workers)]
        self._deadline_s = deadline_s
        self._setup_s = setup_s
        self._tries = tries
        self._lost_at_start = 0
        self._finalizer = weakref.finalize(self, _stop_all, self._workers)

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome per job in the order they end; abandoning the iterator stops what is in flight."""
        waiting = list(jobs)
        try:
            for part in PARTS:
                queue = deque(Task(job) for job in waiting if job.part == part)
                yield from self._drain(queue, self._workers if part == "shared" else self._workers[:1])
        finally:
            _stop_all([worker for worker in self._workers if worker.is_waited_for])

    def close(self) -> None:
        """Stop every worker; harmless when repeated."""
        _stop_all(self._workers)

    def _drain(self, queue: deque[Task], workers: Sequence[Worker]) -> Iterator[Outcome]:
        while queue or any(worker.task for worker in workers):
            self._assign(queue, workers)
            _wait([worker for worker in workers if worker.is_waited_for])
            for worker in workers:
                outcome = self._attend(worker, queue) if worker.is_waited_for else None
                if outcome is not None:
                    # the caller records it before the worker goes on: what a crash can lose stays
                    # one measurement per worker (R2), for a pause of one commit
                    yield outcome
                    self._assign(queue, workers)

    def _assign(self, queue: deque[Task], workers: Sequence[Worker]) -> None:
        for worker in workers:
            if queue and worker.is_ready and worker.task is None:
                task = queue.popleft()
                if not worker.give(task, self._deadline_s):
                    queue.appendleft(task)
        wanted = len(queue) - sum(worker.is_running and not worker.is_ready for worker in workers)
        for worker in [worker for worker in workers if not worker.is_running][: max(wanted, 0)]:
            worker.start(self._setup_s)

    def _attend(self, worker: Worker, queue: deque[Task]) -> Outcome | None:
        task = worker.task
        try:
            message = worker.hear()
        except WorkerLostError as loss:
            worker.stop()
            if task is not None:
                return self._lose(task, worker, str(loss), queue)
            self._lose_start(str(loss))
            return None
        if message is None:
            return None
        if task is not None:
            worker.task = None
            return _conclude(task, worker, message)
        self._greet(worker, message)
        return None

    def _greet(self, worker: Worker, message: dict[str, Any]) -> None:
        if not message.get("ready"):
            raise EngineError(str(message.get("message")), str(message.get("hint") or ""))
        worker.is_ready = True
        self._lost_at_start = 0

    def _lose_start(self, reason: str) -> None:
        self._lost_at_start += 1
        if self._lost_at_start > 2 * self._tries:
            raise EngineError(
                f"No worker can start: {reason}, {self._lost_at_start} times in a row.",
                "Read the workers' logs in the run; try hardware.workers=1 or more hardware.memory_gb.",
            )

    def _lose(self, task: Task, worker: Worker, reason: str, queue: deque[Task]) -> Outcome | None:
        task.attempts += 1
        if task.attempts < self._tries:
            queue.append(task)
            return None
        if reason == "timeout":
            reason = f"timeout: no answer within {self._deadline_s:g} s"
        seconds = time.monotonic() - task.began
        return Outcome(task.job, None, reason, seconds, worker.name, task.attempts)


def _conclude(task: Task, worker: Worker, message: dict[str, Any]) -> Outcome:
    seconds, attempts = time.monotonic() - task.began, task.attempts + 1
    if "reason" in message:
        return Outcome(task.job, None, str(message["reason"]), seconds, worker.name, attempts)
    try:
        measurement = checked(Measurement(message["objectives"], message.get("extra") or {}))
    except (ValueError, TypeError) as error:
        return Outcome(task.job, None, explain(error), seconds, worker.name, attempts)
    return Outcome(task.job, measurement, "", seconds, worker.name, attempts)


def _wait(workers: Sequence[Worker]) -> None:
    if workers:
        nearest = min(worker.deadline for worker in workers) - time.monotonic()
        wait([worker.connection for worker in workers], timeout=min(max(nearest, 0.0), _LOOK_S))


def _stop_all(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.stop()


def _require(**positive: float) -> None:
    for name, value in positive.items():
        if value <= 0:
            raise EngineError(f"hardware.{name} is {value}; it must be larger than 0.", f"hardware.{name}=1")
