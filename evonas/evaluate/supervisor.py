"""The supervisor: keeps every job until its outcome is yielded, even if workers are lost.

It is the common base of engines with worker processes. A small protocol abstracts from workers, so that
processes behind a pipe and actors on other machines have the same deadlines (on the monotonic clock), retries
and event log.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evonas.errors import EngineError
from evonas.evaluate.backlog import Backlog, Order, Pass, QueuedJob
from evonas.evaluate.engine import PARTS, Job, Measurement, Outcome, Part
from evonas.evaluate.events import EventLog
from evonas.evaluate.measure import checked, explain, no_images


class WorkerLostError(Exception):
    """A worker process ended, exceeded its deadline or sent an invalid message; the text is deterministic."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Deadlines and retries.

    Args:
        deadline_s: maximum time per genotype of a pass, in seconds.
        setup_s: maximum time of a worker's setup, in seconds.
        tries: number of lost workers after which a job fails.
    """

    deadline_s: float = 600.0
    setup_s: float = 600.0
    tries: int = 3


class SupervisedWorker(Protocol):
    """A worker, started on demand and restarted after a loss.

    `task` is the current pass; `is_ready` is False until the evaluator is set up. `receive` returns the next
    message, or None if there is none yet, and raises a WorkerLostError if the worker is lost. `stop` returns
    after the process and its children have ended.
    """

    name: str
    device: str
    task: Pass | None
    is_ready: bool

    @property
    def is_running(self) -> bool: ...

    @property
    def is_waited_for(self) -> bool: ...

    @property
    def deadline(self) -> float: ...

    def start(self, setup_s: float) -> None: ...

    def send(self, task: Pass, deadline_s: float) -> bool: ...

    def receive(self) -> dict[str, Any] | None: ...

    def stop(self) -> None: ...


class Supervisor:
    """Base class of engines with workers; each worker processes one pass at a time.

    Args:
        workers: workers of the `shared` part, not started yet.
        exclusive: one worker per device for the `exclusive` part; may be among `workers`.
        policy: deadlines and retries.
        events: path of the event log, or None.
        subnets_per_pass: maximum number of shared jobs per pass, if the evaluator is a `BatchEvaluator`.
        order: sort key of genotypes; neighbours share computation and are measured in one pass.
    """

    def __init__(
        self,
        workers: Sequence[SupervisedWorker],
        exclusive: Sequence[SupervisedWorker],
        policy: RetryPolicy,
        events: Path | None = None,
        subnets_per_pass: int = 8,
        order: Order | None = None,
    ) -> None:
        self._shared, self._exclusive = workers, exclusive
        self._everyone = [*workers, *(worker for worker in exclusive if worker not in workers)]
        self._policy = policy
        self._events = EventLog(events)
        self._limits: dict[Part, int] = {"shared": subnets_per_pass, "exclusive": 1}
        self._backlogs: dict[Part, Backlog] = {part: Backlog(order) for part in PARTS}
        self._measures_together = False
        self._lost_at_start = 0

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield one outcome per job in the order of completion; closing the iterator stops running jobs."""
        self.submit(jobs)
        try:
            while any(self._backlogs.values()):
                for part in PARTS:
                    if self._backlogs[part]:
                        yield from self._drain(part, self.workers_of(part))
        finally:
            for backlog in self._backlogs.values():
                backlog.clear()
            for worker in self._everyone:
                if worker.is_waited_for:
                    self._stop(worker)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs; they start when the next outcome of `run` is requested."""
        for job in jobs:
            self._backlogs[job.part].add([job])

    def close(self) -> None:
        """Stop every worker; may be called twice."""
        stop_all(self._everyone)

    def wait(self, workers: Sequence[Any], seconds: float) -> None:
        """Block until one of the workers may have a message, for at most `seconds`."""
        raise NotImplementedError

    def workers_of(self, part: Part) -> Sequence[SupervisedWorker]:
        """Workers of a part that is about to start, after stopping other busy workers."""
        if part == "shared":
            return self._shared
        # a worker that is still loading its network would disturb exclusive measurements
        for worker in self._everyone:
            if worker.is_waited_for:
                self._stop(worker)
        return self._exclusive

    def _drain(self, part: Part, workers: Sequence[SupervisedWorker]) -> Iterator[Outcome]:
        backlog = self._backlogs[part]
        while backlog or any(worker.task for worker in workers):
            self._assign(part, workers)
            if waited_for := [worker for worker in workers if worker.is_waited_for]:
                nearest = min(worker.deadline for worker in waited_for) - time.monotonic()
                self.wait(waited_for, max(nearest, 0.0))
            for worker in workers:
                ended = self._attend(worker, backlog) if worker.is_waited_for else []
                # the caller records the outcomes before the worker continues, so that a crash loses at most
                # one pass per worker (R2)
                yield from ended
                if ended:
                    self._assign(part, workers)

    def _assign(self, part: Part, workers: Sequence[SupervisedWorker]) -> None:
        backlog = self._backlogs[part]
        for worker in workers:
            if worker.is_ready and worker.task is None:
                self._occupy(worker, backlog, len(workers), self._limits[part])
        wanted = len(backlog) - sum(worker.is_running and not worker.is_ready for worker in workers)
        for worker in [worker for worker in workers if not worker.is_running][: max(wanted, 0)]:
            worker.start(self._policy.setup_s)
            self._events.start([], worker.name, worker.device)

    def _occupy(self, worker: SupervisedWorker, backlog: Backlog, workers: int, limit: int) -> None:
        task = backlog.take(workers, limit if self._measures_together else 1)
        if task is None:
            return
        if task.images is not None and not self._measures_together:
            raise no_images(task.images)
        if worker.send(task, self._policy.deadline_s * len(task.members)):
            self._events.start(task.jobs, worker.name, worker.device)
        else:
            backlog.put_back(task)

    def _attend(self, worker: SupervisedWorker, backlog: Backlog) -> list[Outcome]:
        task = worker.task
        try:
            message = worker.receive()
            if (
                message is not None
                and task is not None
                and len(message.get("answers", [])) != len(task.members)
            ):
                raise WorkerLostError("worker sent junk")
        except WorkerLostError as loss:
            self._stop(worker)
            if task is not None:
                return self._lose(task, worker, str(loss), backlog)
            self._lose_start(str(loss))
            return []
        if message is None:
            return []
        self._events.stop(task.jobs if task else [], worker.name, worker.device)
        if task is not None:
            worker.task = None
            seconds = (time.monotonic() - task.began) / len(task.members)
            return [
                _outcome(pending, worker, answer, seconds)
                for pending, answer in zip(task.members, message["answers"], strict=True)
            ]
        if not message.get("ready"):
            raise EngineError(str(message.get("message")), str(message.get("hint") or ""))
        worker.is_ready = True
        self._measures_together = bool(message.get("together"))
        self._lost_at_start = 0
        return []

    def _lose_start(self, reason: str) -> None:
        self._lost_at_start += 1
        # a worker that cannot be scheduled does not stop a search with other working workers
        if self._lost_at_start > 2 * self._policy.tries and not any(w.is_ready for w in self._everyone):
            raise EngineError(
                f"No worker can start: {reason}, {self._lost_at_start} times in a row.",
                "Read the workers' logs in the run; try hardware.workers=1 or more hardware.memory_gb.",
            )

    def _lose(self, task: Pass, worker: SupervisedWorker, reason: str, backlog: Backlog) -> list[Outcome]:
        if len(task.members) > 1:
            # no attempt is counted: measured alone, the faulty job loses its worker again
            backlog.split(task)
            return []
        [pending] = task.members
        pending.attempts += 1
        if pending.attempts < self._policy.tries:
            backlog.split(task)
            return []
        if reason == "timeout":
            reason = f"timeout: no answer within {self._policy.deadline_s:g} s"
        seconds = time.monotonic() - task.began
        return [Outcome(pending.job, None, reason, seconds, worker.name, pending.attempts)]

    def _stop(self, worker: SupervisedWorker) -> None:
        """Stop a busy worker and log the end of its pass afterwards."""
        jobs = worker.task.jobs if worker.task else []
        worker.stop()
        self._events.stop(jobs, worker.name, worker.device)


def stop_all(workers: Sequence[SupervisedWorker]) -> None:
    """Stop every worker; workers that are not running are ignored."""
    for worker in workers:
        worker.stop()


def require_positive(**settings: float) -> None:
    """Raise an EngineError for the first setting of `hardware` that is not positive."""
    for name, value in settings.items():
        if value <= 0:
            raise EngineError(f"hardware.{name} must be positive, got {value}.", f"hardware.{name}=1")


def _outcome(pending: QueuedJob, worker: SupervisedWorker, answer: dict[str, Any], seconds: float) -> Outcome:
    job, attempts = pending.job, pending.attempts + 1
    if "reason" in answer:
        return Outcome(job, None, str(answer["reason"]), seconds, worker.name, attempts)
    try:
        measurement = checked(Measurement(answer["objectives"], answer.get("extra") or {}))
    except (KeyError, ValueError, TypeError) as error:
        return Outcome(job, None, explain(error), seconds, worker.name, attempts)
    return Outcome(job, measurement, "", seconds, worker.name, attempts)
