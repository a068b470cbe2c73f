"""The supervisor: jobs live here until their outcomes are yielded, whatever happens to the workers.

Shared by the engines that have worker processes. It knows workers by a small protocol, so that a process
behind a pipe and an actor on another machine are watched by the same code, with the same deadlines on the
monotonic clock, the same retries and the same event log.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Job, Measurement, Outcome, Part
from evonas.evaluate.events import EventLog
from evonas.evaluate.measure import checked, explain


class WorkerLostError(Exception):
    """The process is gone, late or talks nonsense; the text says which, the same way every time."""


@dataclass(slots=True)
class Task:
    """A job on its way: how often it was tried, and when this try began (monotonic)."""

    job: Job
    attempts: int = 0
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a supervisor waits and how often it tries.

    Args:
        deadline_s: seconds one measurement may take.
        setup_s: seconds a worker may take to set up its evaluator.
        tries: how often a job may lose its worker before it is failed.
    """

    deadline_s: float = 600.0
    setup_s: float = 600.0
    tries: int = 3


class SupervisedWorker(Protocol):
    """One worker, started on demand and again after every loss.

    `task` is the job it works on; `is_ready` is False until its evaluator is set up. `hear` returns the next
    message, or None if there is none yet, and raises WorkerLostError when there never will be one. `stop`
    ends the process and all it started before it returns.
    """

    name: str
    device: str
    task: Task | None
    is_ready: bool

    @property
    def is_running(self) -> bool: ...

    @property
    def is_waited_for(self) -> bool: ...

    @property
    def deadline(self) -> float: ...

    def start(self, patience_s: float) -> None: ...

    def give(self, task: Task, deadline_s: float) -> bool: ...

    def hear(self) -> dict[str, Any] | None: ...

    def stop(self) -> None: ...


class Supervisor:
    """An engine over workers; each measures one job at a time and is given the next when done.

    Args:
        workers: of the `shared` part, not yet started.
        exclusive: one worker per device for the `exclusive` part, which may be among `workers`.
        patience: deadlines and tries.
        events: file that starts and stops are noted in, or None.
    """

    def __init__(
        self,
        workers: Sequence[SupervisedWorker],
        exclusive: Sequence[SupervisedWorker],
        patience: Patience,
        events: Path | None = None,
    ) -> None:
        self._shared, self._exclusive = workers, exclusive
        self._everyone = [*workers, *(worker for worker in exclusive if worker not in workers)]
        self._patience = patience
        self._events = EventLog(events)
        self._lost_at_start = 0

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome per job in the order they end; abandoning the iterator stops what is in flight."""
        waiting = list(jobs)
        try:
            for part in PARTS:
                queue = deque(Task(job) for job in waiting if job.part == part)
                if queue:
                    yield from self._drain(queue, self.workers_of(part))
        finally:
            for worker in self._everyone:
                if worker.is_waited_for:
                    self._stop(worker)

    def close(self) -> None:
        """Stop every worker; harmless when repeated."""
        stop_all(self._everyone)

    def wait(self, workers: Sequence[Any], seconds: float) -> None:
        """Return when one of the workers may have something to say, or after some seconds."""
        raise NotImplementedError

    def workers_of(self, part: Part) -> Sequence[SupervisedWorker]:
        """The workers of a part that is about to begin, with all others quiet."""
        if part == "shared":
            return self._shared
        # a worker that is still loading its network would disturb the first measurements
        for worker in self._everyone:
            if worker.is_waited_for:
                self._stop(worker)
        return self._exclusive

    def _drain(self, queue: deque[Task], workers: Sequence[SupervisedWorker]) -> Iterator[Outcome]:
        while queue or any(worker.task for worker in workers):
            self._assign(queue, workers)
            self._wait([worker for worker in workers if worker.is_waited_for])
            for worker in workers:
                outcome = self._attend(worker, queue) if worker.is_waited_for else None
                if outcome is not None:
                    # the caller records it before the worker goes on: what a crash can lose stays
                    # one measurement per worker (R2), for a pause of one commit
                    yield outcome
                    self._assign(queue, workers)

    def _assign(self, queue: deque[Task], workers: Sequence[SupervisedWorker]) -> None:
        for worker in workers:
            if queue and worker.is_ready and worker.task is None:
                task = queue.popleft()
                if worker.give(task, self._patience.deadline_s):
                    self._events.start(task.job, worker.name, worker.device)
                else:
                    queue.appendleft(task)
        wanted = len(queue) - sum(worker.is_running and not worker.is_ready for worker in workers)
        for worker in [worker for worker in workers if not worker.is_running][: max(wanted, 0)]:
            worker.start(self._patience.setup_s)
            self._events.start(None, worker.name, worker.device)

    def _wait(self, workers: Sequence[SupervisedWorker]) -> None:
        if workers:
            nearest = min(worker.deadline for worker in workers) - time.monotonic()
            self.wait(workers, max(nearest, 0.0))

    def _attend(self, worker: SupervisedWorker, queue: deque[Task]) -> Outcome | None:
        task = worker.task
        try:
            message = worker.hear()
        except WorkerLostError as loss:
            self._stop(worker)
            if task is not None:
                return self._lose(task, worker, str(loss), queue)
            self._lose_start(str(loss))
            return None
        if message is None:
            return None
        self._events.stop(task.job if task else None, worker.name, worker.device)
        if task is not None:
            worker.task = None
            return _conclude(task, worker, message)
        self._greet(worker, message)
        return None

    def _greet(self, worker: SupervisedWorker, message: dict[str, Any]) -> None:
        if not message.get("ready"):
            raise EngineError(str(message.get("message")), str(message.get("hint") or ""))
        worker.is_ready = True
        self._lost_at_start = 0

    def _lose_start(self, reason: str) -> None:
        self._lost_at_start += 1
        # a worker that finds no place does not stop a search in which others work
        if self._lost_at_start > 2 * self._patience.tries and not any(w.is_ready for w in self._everyone):
            raise EngineError(
                f"No worker can start: {reason}, {self._lost_at_start} times in a row.",
                "Read the workers' logs in the run; try hardware.workers=1 or more hardware.memory_gb.",
            )

    def _lose(self, task: Task, worker: SupervisedWorker, reason: str, queue: deque[Task]) -> Outcome | None:
        task.attempts += 1
        if task.attempts < self._patience.tries:
            queue.append(task)
            return None
        if reason == "timeout":
            reason = f"timeout: no answer within {self._patience.deadline_s:g} s"
        seconds = time.monotonic() - task.began
        return Outcome(task.job, None, reason, seconds, worker.name, task.attempts)

    def _stop(self, worker: SupervisedWorker) -> None:
        """Stop a worker that owes an answer; what it was busy with ends in the log when it is gone."""
        job = worker.task.job if worker.task else None
        worker.stop()
        self._events.stop(job, worker.name, worker.device)


def stop_all(workers: Sequence[SupervisedWorker]) -> None:
    """Stop every worker; those that do not run are left as they are."""
    for worker in workers:
        worker.stop()


def require_positive(**settings: float) -> None:
    """Raise an EngineError that names the first setting of `hardware` that is not larger than 0."""
    for name, value in settings.items():
        if value <= 0:
            raise EngineError(f"hardware.{name} is {value}; it must be larger than 0.", f"hardware.{name}=1")


def _conclude(task: Task, worker: SupervisedWorker, message: dict[str, Any]) -> Outcome:
    seconds, attempts = time.monotonic() - task.began, task.attempts + 1
    if "reason" in message:
        return Outcome(task.job, None, str(message["reason"]), seconds, worker.name, attempts)
    try:
        measurement = checked(Measurement(message["objectives"], message.get("extra") or {}))
    except (ValueError, TypeError) as error:
        return Outcome(task.job, None, explain(error), seconds, worker.name, attempts)
    return Outcome(task.job, measurement, "", seconds, worker.name, attempts)
