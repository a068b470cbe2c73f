"""The Ray engine: the same supervisor over actors, on this machine or on a cluster.

Without an address a Ray of our own is started for this search alone: on the loopback interface, without
dashboard and usage statistics, in a private temporary folder, and it ends with the driver. With an address
the cluster that is there is used; whoever can reach a Ray cluster can run code on it, so it belongs into a
network of its own. Only this module's actor is sent; what it is told and what it answers is JSON text.

Every machine of a cluster must see the run's folder and the data under the same paths. The `exclusive` part
runs in one actor on the driver's machine, whose name is in the fingerprint of what it measures.
"""

import json
import os
import resource
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas.errors import EngineError, UserError
from evonas.evaluate.backlog import Order, Pass
from evonas.evaluate.engine import EvaluatorLike, Part
from evonas.evaluate.events import EVENTS
from evonas.evaluate.measure import EvaluatorSpec, answer, explain, greeting, parse_answer, ready_evaluator
from evonas.evaluate.process import import_path, thread_variables
from evonas.evaluate.supervisor import (
    Patience,
    SupervisedWorker,
    Supervisor,
    WorkerLostError,
    require_positive,
    stop_all,
)

# Ray reads these when it is imported or started
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ROTATION_MAX_BYTES": "1000000",
    "RAY_ROTATION_BACKUP_COUNT": "1",
}
# with this switch off Ray takes the loopback address for that of the machine, on every system
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_LOOPBACK = "127.0.0.1"
_STORE_BYTES = 100_000_000
_LOOK_S = 0.5


class Measurer:
    """The actor: builds one evaluator and measures what it is told, one request at a time.

    Args:
        memory_bytes: address space it may have, 0 for no limit.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._evaluator: EvaluatorLike | None = None
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    def prepare(self, spec: EvaluatorSpec) -> str:
        """Build the evaluator; JSON that says whether it is ready, and if not, why."""
        try:
            self._evaluator = ready_evaluator(spec)
        except EngineError as error:
            return json.dumps({"ready": False, "message": error.message, "hint": error.hint})
        return json.dumps(greeting(self._evaluator))

    def measure(self, request: str) -> str:
        """The answer to a request, both as JSON."""
        assert self._evaluator is not None
        return json.dumps(answer(self._evaluator, json.loads(request)), allow_nan=False)


class RayWorker:
    """The supervisor's side of one actor.

    Args:
        ray: the module.
        index: gives it its name.
        spec: of its evaluator.
        options: what the actor asks of Ray.
        memory_bytes: address space it may have, 0 for no limit.
    """

    def __init__(
        self, ray: Any, index: int, spec: EvaluatorSpec, options: dict[str, Any], memory_bytes: int
    ) -> None:
        self.name = f"actor{index}"
        self.device = "ray"
        self.task: Pass | None = None
        self.is_ready = False
        self._ray, self._spec, self._options, self._memory = ray, spec, dict(options), memory_bytes
        self._actor: Any = None
        self._pending: Any = None
        self._deadline = 0.0

    @property
    def is_running(self) -> bool:
        """Whether an actor was asked for and not yet found lost."""
        return self._actor is not None

    @property
    def is_waited_for(self) -> bool:
        """Whether the actor owes an answer."""
        return self._pending is not None

    @property
    def pending(self) -> Any:
        """The reference to the awaited answer."""
        assert self._pending is not None
        return self._pending

    @property
    def deadline(self) -> float:
        """When the awaited answer is late, on the monotonic clock."""
        return self._deadline

    def start(self, patience_s: float) -> None:
        """Ask for an actor; it may wait for a place, but no longer than `patience_s`."""
        self._actor = self._ray.remote(Measurer).options(**self._options).remote(self._memory)
        self._pending = self._actor.prepare.remote(self._spec)
        self._deadline = time.monotonic() + patience_s

    def give(self, task: Pass, deadline_s: float) -> bool:
        """Hand over jobs; a dead actor is noticed when it is listened to."""
        self._pending = self._actor.measure.remote(json.dumps(task.request))
        task.began = time.monotonic()
        self.task, self._deadline = task, task.began + deadline_s
        return True

    def hear(self) -> dict[str, Any] | None:
        """The next message, or None if there is none yet; WorkerLostError when there never will be."""
        done, _ = self._ray.wait([self._pending], timeout=0)
        if done:
            message = parse_answer(self._get(done[0]))
            self._pending = None
            if message is None:
                raise WorkerLostError("worker sent junk")
            return message
        if time.monotonic() >= self._deadline:
            raise WorkerLostError("timeout")
        return None

    def stop(self) -> None:
        """End the actor's process, now."""
        actor, self._actor = self._actor, None
        self._pending = self.task = None
        self.is_ready = False
        if actor is not None and self._ray.is_initialized():
            self._ray.kill(actor, no_restart=True)

    def _get(self, reference: Any) -> str:
        try:
            return str(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            if self.is_ready:
                raise WorkerLostError("worker died") from None
            # the spec could not even be unpacked there
            message = f"The evaluator cannot start. {explain(error.cause or error)}"
            return json.dumps({"ready": False, "message": message, "hint": ""})
        except self._ray.exceptions.RayError:
            # how an actor was lost is told differently by every version of Ray; the archive needs one word
            raise WorkerLostError("worker died") from None


class RayEngine(Supervisor):
    """Actors on Ray; a lost actor or machine costs the measurement it was busy with, which is repeated.

    Args:
        evaluator: config with `_target_`, or a picklable factory.
        workers: actors for the `shared` part.
        threads_per_worker: CPUs of each actor.
        deadline_s: seconds one measurement may take.
        tries: how often a job may lose its actor before it is failed.
        memory_gb: address space an actor may have, or None.
        log_dir: where events are noted, or None.
        setup_s: seconds an actor may take to find a place and set up its evaluator.
        gpus_per_worker: GPUs of each actor; a half means that two share one.
        address: of a cluster (`auto` finds the one of this machine), or None for a Ray of our own.
        subnets_per_pass: how many shared jobs an actor may be given at a time, if it measures them together.
        order: of genotypes; neighbours in it share work, and are given together.

    Raises:
        UserError: Ray is not installed.
        EngineError: the cluster does not answer.
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
        gpus_per_worker: float = 0.0,
        address: str | None = None,
        subnets_per_pass: int = 8,
        order: Order | None = None,
    ) -> None:
        require_positive(
            workers=workers,
            threads_per_worker=threads_per_worker,
            deadline_s=deadline_s,
            tries=tries,
            subnets_per_pass=subnets_per_pass,
        )
        ray = _import_ray(_QUIET if address else {**_QUIET, **_ALONE})
        self._ray, self._is_ours = ray, address is None
        scratch = None
        if address:
            _join(ray, address)
        else:
            scratch = _start(ray, workers * threads_per_worker)
        options = _options(threads_per_worker, gpus_per_worker, self._is_ours)
        memory = int((memory_gb or 0) * 2**30)
        shared = [RayWorker(ray, index, evaluator, options, memory) for index in range(workers)]
        alone = shared[0]
        if not self._is_ours:
            alone = RayWorker(ray, workers, evaluator, _here(ray, options), memory)
        events = None if log_dir is None else Path(log_dir) / EVENTS
        patience = Patience(deadline_s, setup_s, tries)
        super().__init__(shared, [alone], patience, events, subnets_per_pass, order)
        self._finalizer = weakref.finalize(self, _end, ray, self._everyone, scratch)

    def close(self) -> None:
        """Stop every actor, and Ray with them if it is ours; harmless when repeated."""
        self._finalizer()

    def wait(self, workers: Sequence[RayWorker], seconds: float) -> None:
        """Return when an answer is there or an actor is known to be lost, or after some seconds."""
        self._ray.wait([worker.pending for worker in workers], timeout=min(seconds, _LOOK_S))

    def workers_of(self, part: Part) -> Sequence[SupervisedWorker]:
        """The actors of a part; on a cluster those of the other part end, because they hold its devices."""
        chosen = super().workers_of(part)
        if not self._is_ours:
            stop_all([worker for worker in self._everyone if worker not in chosen])
        return chosen


def _import_ray(settings: Mapping[str, str]) -> Any:
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            f"hardware.engine=ray needs the package '{error.name}', which is not installed.",
            "pip install 'evonas[ray]'",
        ) from error
    return ray


def _start(ray: Any, cpus: int) -> Path:
    """A Ray of our own, with just the CPUs that the actors need; its private folder."""
    if ray.is_initialized():
        raise EngineError("Ray runs in this process already.", "Close the other engine first.")
    # not in the run's folder: the names of its sockets would be too long
    scratch = Path(tempfile.mkdtemp(prefix="evonas-ray-"))
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=_STORE_BYTES,
        _node_ip_address=_LOOPBACK,
        _temp_dir=str(scratch),
    )
    if ray.util.get_node_ip_address() != _LOOPBACK:
        _end(ray, (), scratch)
        raise EngineError("Ray was loaded before the engine and listens to the network.", "Start anew.")
    return scratch


def _join(ray: Any, address: str) -> None:
    """Connect to the cluster at an address."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"There is no Ray cluster at hardware.address={address}: {explain(error)}",
            "Start one with: ray start --head",
        ) from error


def _options(threads: int, gpus: float, is_ours: bool) -> dict[str, Any]:
    variables = {**thread_variables(threads), **(import_path() if is_ours else {})}
    return {
        "num_cpus": threads,
        "num_gpus": gpus,
        # the supervisor decides what is tried again
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": {"env_vars": variables},
    }


def _here(ray: Any, options: dict[str, Any]) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return {**options, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _end(ray: Any, workers: Sequence[SupervisedWorker], scratch: Path | None) -> None:
    stop_all(workers)
    if ray.is_initialized():
        ray.shutdown()
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
