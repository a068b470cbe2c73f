"""The supervisor: keeps every job until its outcome is yielded, even if workers are lost or sick.

It is the common base of engines with worker processes. A small protocol abstracts from workers, so that
processes behind a pipe and actors on other machines have the same deadlines (on the monotonic clock), retries
and event log.

A mishap is a measurement that raises, exceeds its deadline or loses its worker. It has an owner, the genotype or the
machine, and one mishap does not tell which. The worker is replaced, and the job goes to another one. Before the last
try of a job, and before a worker is given more work after `MISHAPS` in a row, the worker measures a *control*: a
genotype that was measured before. If the control succeeds, the job's next mishap is the genotype's own, and the worker
is well. If it fails, the machine is to blame: the job waits for another worker, and this one is stopped for good after
`MISHAPS`. A worker pauses longer and longer between mishaps, so that an outage of a few seconds passes.

A worker that runs other code than the driver is not used, since its results would not belong to those of the others.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from evonas.errors import EngineError
from evonas.evaluate.backlog import Backlog, Order, Pass, QueuedJob
from evonas.evaluate.code import code_digest
from evonas.evaluate.engine import PARTS, Job, Measurement, Outcome, Owner, Part
from evonas.evaluate.events import EventLog
from evonas.evaluate.measure import EvaluatorSpec, checked, explain, no_images
from evonas.version import __version__

# mishaps in a row after which a worker must measure a control, and after which it is stopped where nothing was
# measured yet that could be one
MISHAPS, BLIND_MISHAPS = 3, 6
# seconds that a worker waits after its first, second, ... mishap in a row
PAUSES_S = (0.0, 1.0, 2.0, 4.0)
# a job fails only after two workers have had a mishap with it
_MIN_TRIES = 2
_IDLE_S = 0.5
_LOG = logging.getLogger(__name__)


class WorkerLostError(Exception):
    """A worker process ended, exceeded its deadline or sent an invalid message; the text is deterministic."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Deadlines and retries.

    Args:
        deadline_s: maximum time per genotype of a pass, in seconds.
        setup_s: maximum time of a worker's setup, in seconds.
        tries: number of mishaps after which a job fails; at least two.
    """

    deadline_s: float = 600.0
    setup_s: float = 600.0
    tries: int = 3


@dataclass(slots=True)
class Health:
    """What is known of the worker of a name, over all its processes.

    Args:
        mishaps: in a row.
        resumes: end of its pause, on the monotonic clock.
        is_checked: whether it has just measured a control and nothing since.
        is_stopped: whether it gets no more work.
        was_ready: whether a process of this name was ready before.
        is_blamed: whether another worker measured what it could not.
        is_reported: whether that was said.
        reason: of the last mishap.
        hint: what to do about it, where that is known.
    """

    mishaps: int = 0
    resumes: float = 0.0
    is_checked: bool = False
    is_stopped: bool = False
    was_ready: bool = False
    is_blamed: bool = False
    is_reported: bool = False
    reason: str = ""
    hint: str = ""


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
        spec: config or factory of the evaluator.
        workers: workers of the `shared` part, not started yet.
        exclusive: one worker per device for the `exclusive` part; may be among `workers`.
        policy: deadlines and retries.
        events: path of the event log, or None.
        subnets_per_pass: maximum number of shared jobs per pass, if the evaluator is a `BatchEvaluator`.
        order: sort key of genotypes; neighbours share computation and are measured in one pass.
    """

    def __init__(
        self,
        spec: EvaluatorSpec,
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
        self._health = {worker.name: Health() for worker in self._everyone}
        self._controls: dict[Part, Job] = {}
        self._code = __version__, code_digest(spec)

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
        for worker in self._everyone:
            self._report_blame(worker.name)
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
        return [self._substitute(worker) for worker in self._exclusive]

    def _substitute(self, worker: SupervisedWorker) -> SupervisedWorker:
        """The worker, or another one of its device if it was stopped for good."""
        able = (
            each for each in self._everyone if each.device == worker.device and not self._is_stopped(each)
        )
        return next(able, worker) if self._is_stopped(worker) else worker

    def _is_stopped(self, worker: SupervisedWorker) -> bool:
        return self._health[worker.name].is_stopped

    def _drain(self, part: Part, workers: Sequence[SupervisedWorker]) -> Iterator[Outcome]:
        backlog = self._backlogs[part]
        while backlog or any(worker.task for worker in workers):
            able = [worker for worker in workers if not self._is_stopped(worker)]
            if not able:
                raise self._all_stopped(workers)
            self._assign(part, able)
            if waited_for := [worker for worker in able if worker.is_waited_for]:
                self.wait(waited_for, self._seconds_left(able))
            else:
                time.sleep(min(self._seconds_left(able), _IDLE_S))
            for worker in able:
                ended = self._attend(worker, backlog) if worker.is_waited_for else []
                # the caller records the outcomes before the worker continues, so that a crash loses at most
                # one pass per worker (R2)
                yield from ended
                if ended:
                    self._assign(part, [each for each in able if not self._is_stopped(each)])

    def _seconds_left(self, workers: Sequence[SupervisedWorker]) -> float:
        """Seconds until a worker must answer or may start again."""
        now = time.monotonic()
        ends = [worker.deadline for worker in workers if worker.is_waited_for]
        pauses = [self._health[each.name].resumes for each in workers if not each.is_running]
        return max(min([*ends, *(each for each in pauses if each > now)], default=now) - now, 0.0)

    def _assign(self, part: Part, workers: Sequence[SupervisedWorker]) -> None:
        backlog = self._backlogs[part]
        for worker in workers:
            if worker.is_ready and worker.task is None:
                self._occupy(worker, part, workers)
        wanted = len(backlog) - sum(worker.is_running and not worker.is_ready for worker in workers)
        now = time.monotonic()
        idle = [each for each in workers if not each.is_running and self._health[each.name].resumes <= now]
        for worker in idle[: max(wanted, 0)]:
            worker.start(self._policy.setup_s)
            self._events.start([], worker.name, worker.device)

    def _occupy(self, worker: SupervisedWorker, part: Part, workers: Sequence[SupervisedWorker]) -> None:
        """Give a worker its next pass, or a control where one is due."""
        health, backlog = self._health[worker.name], self._backlogs[part]
        control, limit = self._controls.get(part), self._limits[part] if self._measures_together else 1

        def suits(task: Pass) -> bool:
            # a job that failed here goes elsewhere
            return len(workers) == 1 or task.members[0].workers[-1:] != (worker.name,)

        task = backlog.take(len(workers), limit, suits)
        if task is None:
            return
        if task.images is not None and not self._measures_together:
            raise no_images(task.images)
        is_due = health.mishaps >= MISHAPS or self._is_last_try(task)
        if is_due and control is not None and not health.is_checked:
            backlog.put_back(task)
            task = Pass((QueuedJob(control, is_control=True),))
        elif self._is_last_try(task) and control is None and (other := backlog.take(len(workers), limit)):
            # what has been tried less may become the control
            backlog.split(task.members)
            task = other
        task.is_checked, health.is_checked = health.is_checked, False
        if worker.send(task, self._policy.deadline_s * len(task.members)):
            self._events.start(task.jobs, worker.name, worker.device)
        elif not task.is_control:
            backlog.put_back(task)

    def _is_last_try(self, task: Pass) -> bool:
        return task.members[0].attempts + 1 >= self._tries

    @property
    def _tries(self) -> int:
        return max(self._policy.tries, _MIN_TRIES)

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
            self._have_mishap(worker, f"cannot start: {loss}")
            return []
        if message is None:
            return []
        self._events.stop(task.jobs if task else [], worker.name, worker.device)
        if task is not None:
            worker.task = None
            return self._answered(task, worker, message["answers"])
        self._greet(worker, message)
        return []

    def _greet(self, worker: SupervisedWorker, message: dict[str, Any]) -> None:
        """A worker's first message: it is ready, or the error that keeps it from that.

        Raises:
            EngineError: no worker of the engine was ever ready.
        """
        health = self._health[worker.name]
        if not message.get("ready"):
            self._stop(worker)
            if not any(each.was_ready for each in self._health.values()):
                raise EngineError(str(message.get("message")), str(message.get("hint") or ""))
            self._have_mishap(worker, str(message.get("message")))
            return
        if (message.get("version"), message.get("code")) != self._code:
            self._stop(worker)
            self._refuse_code(worker, message)
            return
        worker.is_ready = health.was_ready = True
        self._measures_together = bool(message.get("together"))

    def _refuse_code(self, worker: SupervisedWorker, message: dict[str, Any]) -> None:
        health, (version, code) = self._health[worker.name], self._code
        health.is_stopped = True
        health.reason = (
            f"{worker.name} on {message.get('host')} runs other code than this search "
            f"(evonas {message.get('version')}, {str(message.get('code'))[:12]} in place of {version}, {code[:12]})"
        )
        health.hint = "Install the same release of evonas, and of packages=, on every machine."
        _LOG.warning("%s. It is not used.", health.reason)

    def _answered(self, task: Pass, worker: SupervisedWorker, answers: list[dict[str, Any]]) -> list[Outcome]:
        """The outcomes of a pass; jobs whose measurement raised are queued again, and the worker is replaced."""
        health = self._health[worker.name]
        seconds = (time.monotonic() - task.began) / len(task.members)
        pairs = list(zip(task.members, answers, strict=True))
        # a control has a result, and whatever it answers instead is the machine's fault
        raised = [
            (member, answer)
            for member, answer in pairs
            if "reason" in answer and (task.is_control or not answer.get("owner"))
        ]
        outcomes = [
            _outcome(member, worker, answer, seconds)
            for member, answer in pairs
            if "reason" not in answer or (answer.get("owner") and not task.is_control)
        ]
        measured = [each for each in outcomes if each.measurement is not None]
        if measured:
            health.mishaps, health.is_checked = 0, task.is_control
            self._controls[measured[0].job.part] = measured[0].job
            self._blame(task.members, [each.job for each in measured])
            if not raised:
                self._report_blame(worker.name)
        if task.is_control:
            outcomes = []
        if raised:
            self._stop(worker)
            # a worker that measured something in the same pass is replaced without a pause
            self._have_mishap(worker, str(raised[0][1]["reason"]), is_sick=not measured, task=task)
        for member, answer in raised:
            outcomes += self._try_again(task, member, worker, str(answer["reason"]), seconds)
        return outcomes

    def _blame(self, members: Sequence[QueuedJob], measured: Sequence[Job]) -> None:
        """Workers are sick that could not measure what another one has measured."""
        for member in members:
            if member.job in measured:
                for name in member.workers:
                    self._health[name].is_blamed = True

    def _report_blame(self, name: str) -> None:
        health = self._health[name]
        if health.is_blamed and not health.is_reported and not health.is_stopped:
            health.is_reported = True
            _LOG.warning(
                "%s could not measure what another worker measured well: %s. It was replaced, and nothing is lost.",
                name,
                health.reason,
            )

    def _have_mishap(
        self, worker: SupervisedWorker, reason: str, is_sick: bool = True, task: Pass | None = None
    ) -> None:
        """Count a mishap of a worker whose process has been stopped; too many stop it for good."""
        health = self._health[worker.name]
        health.is_checked, health.reason = False, reason
        if not is_sick:
            return
        health.mishaps += 1
        most = self._tries
        if any(each.was_ready for each in self._health.values()):
            most = BLIND_MISHAPS
            health.resumes = time.monotonic() + PAUSES_S[min(health.mishaps, len(PAUSES_S)) - 1]
        was_control = task is not None and task.is_control
        if (was_control and health.mishaps > MISHAPS) or health.mishaps >= most:
            health.is_stopped = True
            _LOG.warning(
                "%s is not used any more: %d measurements in a row failed there, also of a genotype that was measured "
                "before (%s)."
                if was_control
                else "%s is not used any more: it failed %d times in a row (%s).",
                worker.name,
                health.mishaps,
                reason,
            )

    def _all_stopped(self, workers: Sequence[SupervisedWorker]) -> EngineError:
        last = self._health[workers[-1].name]
        reason = last.reason
        if not any(health.was_ready for health in self._health.values()):
            return EngineError(
                f"No worker can start: {reason.removeprefix('cannot start: ')}.",
                last.hint
                or "Read the workers' logs in the run; try hardware.workers=1 or more hardware.memory_gb.",
            )
        return EngineError(
            f"No worker can measure any more: {reason}.",
            "See what is wrong with the machine (the workers' logs are in the run), then repeat the command with "
            "resume=true; what was measured is kept, and nothing failed for this.",
        )

    def _try_again(
        self, task: Pass, member: QueuedJob, worker: SupervisedWorker, reason: str, seconds: float
    ) -> list[Outcome]:
        """Queue a job again after a mishap, or fail it if that was its last try and followed a control."""
        if task.is_control:
            return []
        part, attempts = member.job.part, member.attempts + 1
        is_alone = not self._backlogs[part] and not any(each.task for each in self._everyone)
        # where nothing was measured yet and nothing else is left to try, there is no control
        is_proven = task.is_checked or (part not in self._controls and is_alone)
        if attempts >= self._tries and is_proven:
            return [Outcome(member.job, None, reason, seconds, worker.name, attempts)]
        again = replace(
            member, attempts=min(attempts, self._tries - 1), workers=(*member.workers, worker.name)
        )
        self._backlogs[part].split([again])
        return []

    def _lose(self, task: Pass, worker: SupervisedWorker, reason: str, backlog: Backlog) -> list[Outcome]:
        self._have_mishap(worker, reason, task=task)
        if len(task.members) > 1:
            # no attempt is counted: measured alone, the faulty job loses its worker again
            backlog.split(task.members)
            return []
        if reason == "timeout":
            reason = f"timeout: no answer within {self._policy.deadline_s:g} s"
        seconds = time.monotonic() - task.began
        return self._try_again(task, task.members[0], worker, reason, seconds)

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
        owner: Owner = "machine" if answer["owner"] == "machine" else "genotype"
        return Outcome(job, None, str(answer["reason"]), seconds, worker.name, attempts, owner)
    try:
        measurement = checked(Measurement(answer["objectives"], answer.get("extra") or {}))
    except (KeyError, ValueError, TypeError) as error:
        return Outcome(job, None, explain(error), seconds, worker.name, attempts)
    return Outcome(job, measurement, "", seconds, worker.name, attempts)
