"""The supervisor: jobs live here until their outcomes are yielded, whatever happens to the workers.

Shared by the engines that have worker processes. It knows workers by a small protocol, so that a process
behind a pipe and an actor on another machine are watched by the same code, with the same deadlines on the
monotonic clock, the same retries and the same event log.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evonas.errors import EngineError
from evonas.evaluate.backlog import Backlog, Order, Pass, Pending
from evonas.evaluate.engine import PARTS, Job, Measurement, Outcome, Part
from evonas.evaluate.events import EventLog
from evonas.evaluate.measure import checked, explain, no_images


class WorkerLostError(Exception):
    """The process is gone, late or talks nonsense; the text says which, the same way every time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a supervisor waits and how often it tries.

    Args:
        deadline_s: seconds one measurement may take; a pass over several genotypes has as many times more.
        setup_s: seconds a worker may take to set up its evaluator.
        tries: how often a job may lose its worker before it is failed.
    """

    deadline_s: float = 600.0
    setup_s: float = 600.0
    tries: int = 3


class SupervisedWorker(Protocol):
    """One worker, started on demand and again after every loss.

    `task` is what it works on; `is_ready` is False until its evaluator is set up. `hear` returns the next
    message, or None if there is none yet, and raises WorkerLostError when there never will be one. `stop`
    ends the process and all it started before it returns.
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

    def start(self, patience_s: float) -> None: ...

    def give(self, task: Pass, deadline_s: float) -> bool: ...

    def hear(self) -> dict[str, Any] | None: ...

    def stop(self) -> None: ...


class Supervisor:
    """An engine over workers; each has one pass at a time and is given the next when done.

    Args:
        workers: of the `shared` part, not yet started.
        exclusive: one worker per device for the `exclusive` part, which may be among `workers`.
        patience: deadlines and tries.
        events: file that starts and stops are noted in, or None.
        subnets_per_pass: how many shared jobs a worker may be given at a time, if it measures them together.
        order: of genotypes; neighbours in it share work, and are given together.
    """

    def __init__(
        self,
        workers: Sequence[SupervisedWorker],
        exclusive: Sequence[SupervisedWorker],
        patience: Patience,
        events: Path | None = None,
        subnets_per_pass: int = 8,
        order: Order | None = None,
    ) -> None:
        self._shared, self._exclusive = workers, exclusive
        self._everyone = [*workers, *(worker for worker in exclusive if worker not in workers)]
        self._patience = patience
        self._events = EventLog(events)
        self._limits: dict[Part, int] = {"shared": subnets_per_pass, "exclusive": 1}
        self._backlogs: dict[Part, Backlog] = {part: Backlog(order) for part in PARTS}
        self._measures_together = False
        self._lost_at_start = 0

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome per job in the order they end; abandoning the iterator stops what is in flight."""
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
        """Let more jobs wait; they are begun as soon as `run` is asked for its next outcome."""
        for job in jobs:
            self._backlogs[job.part].add([job])

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

    def _drain(self, part: Part, workers: Sequence[SupervisedWorker]) -> Iterator[Outcome]:
        backlog = self._backlogs[part]
        while backlog or any(worker.task for worker in workers):
            self._assign(part, workers)
            self._wait([worker for worker in workers if worker.is_waited_for])
            for worker in workers:
                ended = self._attend(worker, backlog) if worker.is_waited_for else []
                # the caller records them before the worker goes on: what a crash can lose stays
                # one pass per worker (R2), for a pause of some commits
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
            worker.start(self._patience.setup_s)
            self._events.start([], worker.name, worker.device)

    def _occupy(self, worker: SupervisedWorker, backlog: Backlog, workers: int, limit: int) -> None:
        task = backlog.take(workers, limit if self._measures_together else 1)
        if task is None:
            return
        if task.images is not None and not self._measures_together:
            raise no_images(task.images)
        if worker.give(task, self._patience.deadline_s * len(task.members)):
            self._events.start(task.jobs, worker.name, worker.device)
        else:
            backlog.put_back(task)

    def _wait(self, workers: Sequence[SupervisedWorker]) -> None:
        if workers:
            nearest = min(worker.deadline for worker in workers) - time.monotonic()
            self.wait(workers, max(nearest, 0.0))

    def _attend(self, worker: SupervisedWorker, backlog: Backlog) -> list[Outcome]:
        task = worker.task
        try:
            message = _heard(worker)
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
            return _conclude(task, worker, message)
        self._greet(worker, message)
        return []

    def _greet(self, worker: SupervisedWorker, message: dict[str, Any]) -> None:
        if not message.get("ready"):
            raise EngineError(str(message.get("message")), str(message.get("hint") or ""))
        worker.is_ready = True
        self._measures_together = bool(message.get("together"))
        self._lost_at_start = 0

    def _lose_start(self, reason: str) -> None:
        self._lost_at_start += 1
        # a worker that finds no place does not stop a search in which others work
        if self._lost_at_start > 2 * self._patience.tries and not any(w.is_ready for w in self._everyone):
            raise EngineError(
                f"No worker can start: {reason}, {self._lost_at_start} times in a row.",
                "Read the workers' logs in the run; try hardware.workers=1 or more hardware.memory_gb.",
            )

    def _lose(self, task: Pass, worker: SupervisedWorker, reason: str, backlog: Backlog) -> list[Outcome]:
        if len(task.members) > 1:
            # nobody is charged: whoever was to blame shows it when it is alone
            backlog.split(task)
            return []
        [pending] = task.members
        pending.attempts += 1
        if pending.attempts < self._patience.tries:
            backlog.split(task)
            return []
        if reason == "timeout":
            reason = f"timeout: no answer within {self._patience.deadline_s:g} s"
        seconds = time.monotonic() - task.began
        return [Outcome(pending.job, None, reason, seconds, worker.name, pending.attempts)]

    def _stop(self, worker: SupervisedWorker) -> None:
        """Stop a worker that owes an answer; what it was busy with ends in the log when it is gone."""
        jobs = worker.task.jobs if worker.task else []
        worker.stop()
        self._events.stop(jobs, worker.name, worker.device)


def stop_all(workers: Sequence[SupervisedWorker]) -> None:
    """Stop every worker; those that do not run are left as they are."""
    for worker in workers:
        worker.stop()


def require_positive(**settings: float) -> None:
    """Raise an EngineError that names the first setting of `hardware` that is not larger than 0."""
    for name, value in settings.items():
        if value <= 0:
            raise EngineError(f"hardware.{name} is {value}; it must be larger than 0.", f"hardware.{name}=1")


def _heard(worker: SupervisedWorker) -> dict[str, Any] | None:
    """The worker's next message; a WorkerLostError if it does not answer what was asked."""
    task, message = worker.task, worker.hear()
    if message is not None and task is not None and len(message.get("answers", [])) != len(task.members):
        raise WorkerLostError("worker sent junk")
    return message


def _conclude(task: Pass, worker: SupervisedWorker, message: dict[str, Any]) -> list[Outcome]:
    seconds = (time.monotonic() - task.began) / len(task.members)
    return [
        _judged(pending, worker, answer, seconds)
        for pending, answer in zip(task.members, message["answers"], strict=True)
    ]


def _judged(pending: Pending, worker: SupervisedWorker, answer: dict[str, Any], seconds: float) -> Outcome:
    job, attempts = pending.job, pending.attempts + 1
    if "reason" in answer:
        return Outcome(job, None, str(answer["reason"]), seconds, worker.name, attempts)
    try:
        measurement = checked(Measurement(answer["objectives"], answer.get("extra") or {}))
    except (KeyError, ValueError, TypeError) as error:
        return Outcome(job, None, explain(error), seconds, worker.name, attempts)
    return Outcome(job, measurement, "", seconds, worker.name, attempts)
