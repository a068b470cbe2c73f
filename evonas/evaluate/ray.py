"""The Ray engine: supervised actors on this machine or on a cluster.

Without an address, the engine starts a private Ray instance: on the loopback interface, without dashboard and
usage statistics, in a temporary folder; it ends with the driver. With an address, it joins an existing
cluster. Everyone who can reach a Ray cluster can run code on it, so use an isolated network. Only this module's
actor is sent to the cluster; requests and answers are JSON text.

All machines of a cluster must have the run's folder and the data under the same paths. The `exclusive` part
runs in one actor on the driver's machine, whose name is part of the fingerprint of its measurements.
"""

import json
import os
import resource
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import EngineError, UserError
from evonas.evaluate.backlog import Order, Pass
from evonas.evaluate.engine import EvaluatorLike, Part
from evonas.evaluate.events import EVENTS
from evonas.evaluate.measure import EvaluatorSpec, answer, explain, greeting, parse_answer, ready_evaluator
from evonas.evaluate.process import import_path, thread_variables
from evonas.evaluate.supervisor import (
    RetryPolicy,
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
# makes Ray use the loopback address on every system
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_LOOPBACK = "127.0.0.1"
_STORE_BYTES = 100_000_000
_POLL_S = 0.5


class EvaluatorActor:
    """Ray actor that builds one evaluator and answers requests sequentially.

    Args:
        memory_bytes: limit of the address space; 0 for none.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._evaluator: EvaluatorLike | None = None
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    def prepare(self, spec: EvaluatorSpec) -> str:
        """Build the evaluator; returns JSON that tells whether it is ready, or the error."""
        try:
            self._evaluator = ready_evaluator(spec)
        except EngineError as error:
            return json.dumps({"ready": False, "message": error.message, "hint": error.hint})
        return json.dumps(greeting(self._evaluator, spec))

    def measure(self, request: str) -> str:
        """Answer a request; both are JSON."""
        assert self._evaluator is not None
        return json.dumps(answer(self._evaluator, json.loads(request)), allow_nan=False)


class RayWorker:
    """Handle of an actor in the supervisor.

    Args:
        ray: the module `ray`.
        index: number in the actor's name.
        spec: config or factory of the evaluator.
        options: Ray options of the actor.
        memory_bytes: limit of the address space; 0 for none.
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
        """Whether an actor was requested and is not known to be lost."""
        return self._actor is not None

    @property
    def is_waited_for(self) -> bool:
        """Whether a message is expected."""
        return self._pending is not None

    @property
    def pending(self) -> Any:
        """Ray reference of the expected answer."""
        assert self._pending is not None
        return self._pending

    @property
    def deadline(self) -> float:
        """Deadline of the expected message, on the monotonic clock."""
        return self._deadline

    def start(self, setup_s: float) -> None:
        """Request an actor; it must be scheduled and ready within `setup_s` seconds."""
        self._actor = self._ray.remote(EvaluatorActor).options(**self._options).remote(self._memory)
        self._pending = self._actor.prepare.remote(self._spec)
        self._deadline = time.monotonic() + setup_s

    def send(self, task: Pass, deadline_s: float) -> bool:
        """Send a pass; `receive` detects a dead actor."""
        self._pending = self._actor.measure.remote(json.dumps(task.request))
        task.began = time.monotonic()
        self.task, self._deadline = task, task.began + deadline_s
        return True

    def receive(self) -> dict[str, Any] | None:
        """Receive the next message, or None if there is none yet; raises a WorkerLostError if the actor is lost."""
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
        """Kill the actor."""
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
            # the spec cannot be unpickled in the actor
            message = f"The evaluator cannot start. {explain(error.cause or error)}"
            return json.dumps({"ready": False, "message": message, "hint": ""})
        except self._ray.exceptions.RayError:
            # versions of Ray word this differently, but the archive needs one text
            raise WorkerLostError("worker died") from None


class RayEngine(Supervisor):
    """Actors on Ray; the pass of a lost actor or machine is repeated.

    Args:
        evaluator: config with `_target_`, or a picklable factory.
        workers: actors of the `shared` part.
        threads_per_worker: CPUs of each actor.
        deadline_s: maximum time of one measurement, in seconds.
        tries: number of lost actors after which a job fails.
        memory_gb: limit of the address space per actor, or None.
        log_dir: folder of the event log, or None.
        setup_s: maximum time of scheduling and setup of an actor, in seconds.
        gpus_per_worker: GPUs of each actor; with 0.5, two actors share a GPU.
        address: address of a cluster (`auto` finds the one of this machine), or None for a private instance.
        subnets_per_pass: maximum number of shared jobs per pass, if the evaluator is a `BatchEvaluator`.
        order: sort key of genotypes; neighbours share computation and are measured in one pass.

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
        policy = RetryPolicy(deadline_s, setup_s, tries)
        super().__init__(evaluator, shared, [alone], policy, events, subnets_per_pass, order)
        self._finalizer = weakref.finalize(self, _end, ray, self._everyone, scratch)

    def close(self) -> None:
        """Stop every actor, and a private Ray instance; may be called twice."""
        super().close()
        self._finalizer()

    def wait(self, workers: Sequence[RayWorker], seconds: float) -> None:
        """Block until an answer is available or an actor is lost, for at most `seconds`."""
        self._ray.wait([worker.pending for worker in workers], timeout=min(seconds, _POLL_S))

    def workers_of(self, part: Part) -> Sequence[SupervisedWorker]:
        """Actors of a part; on a cluster, the actors of the other part are stopped to free their devices."""
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


def _start(ray: Any, cpus: int) -> files.Scratch:
    """Start a private Ray instance with the CPUs of the actors; returns its temporary folder."""
    if ray.is_initialized():
        raise EngineError("Ray already runs in this process.", "Close the other engine first.")
    # not in the run's folder, where the socket paths would be too long
    scratch = files.Scratch("evonas-ray-")
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=_STORE_BYTES,
        _node_ip_address=_LOOPBACK,
        _temp_dir=str(scratch.path),
    )
    if ray.util.get_node_ip_address() != _LOOPBACK:
        _end(ray, (), scratch)
        raise EngineError(
            "Ray was imported before the engine and listens on the network.", "Restart the process."
        )
    return scratch


def _join(ray: Any, address: str) -> None:
    """Connect to the cluster at an address."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"There is no Ray cluster at hardware.address={address}: {explain(error)}",
            "Start one with: ray start --head --node-ip-address=<private address>   (Ray listens on all interfaces "
            "without it, and whoever reaches it can run code)",
        ) from error


def _options(threads: int, gpus: float, is_ours: bool) -> dict[str, Any]:
    variables = {**thread_variables(threads), **(import_path() if is_ours else {})}
    return {
        "num_cpus": threads,
        "num_gpus": gpus,
        # the supervisor handles retries
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": {"env_vars": variables},
    }


def _here(ray: Any, options: dict[str, Any]) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return {**options, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _end(ray: Any, workers: Sequence[SupervisedWorker], scratch: files.Scratch | None) -> None:
    stop_all(workers)
    if ray.is_initialized():
        ray.shutdown()
    if scratch is not None:
        scratch.close()
