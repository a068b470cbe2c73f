"""The local engine: supervised worker processes on this machine.

It watches pipes, processes and a deadline per job on the monotonic clock. It has no queue that a dead worker
could take along: a job lives in the supervisor until its outcome is yielded.
"""

import os
import weakref
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

from evonas.errors import EngineError
from evonas.evaluate.backlog import Order
from evonas.evaluate.events import EVENTS
from evonas.evaluate.measure import EvaluatorSpec
from evonas.evaluate.process import Limits, Worker
from evonas.evaluate.supervisor import Patience, Supervisor, require_positive, stop_all

# a death can go unseen by the pipe for this long, where a grandchild holds it open
_LOOK_S = 0.5


class LocalEngine(Supervisor):
    """Worker processes, spread over the devices of this machine in turn.

    Args:
        evaluator: config with `_target_`, or a picklable factory from an importable module.
        workers: processes for the `shared` part; the `exclusive` part uses one per device.
        threads_per_worker: what OMP and MKL are told before the worker starts.
        deadline_s: seconds one measurement may take.
        tries: how often a job may lose its worker before it is failed.
        memory_gb: address space a worker may have, or None. Loading torch alone takes some GB of it.
        log_dir: where workers print to, at most a few MB each, and events are noted; None discards both.
        setup_s: seconds a worker may take to set up its evaluator.
        gpus: GPUs to spread workers over, each of which then sees one alone; 0 leaves all visible to all.
        subnets_per_pass: how many shared jobs a worker may be given at a time, if it measures them together.
        order: of genotypes; neighbours in it share work, and are given together.
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
        gpus: int = 0,
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
        folder = None if log_dir is None else Path(log_dir)
        limits = Limits(threads_per_worker, memory_gb, folder)
        devices = _devices(gpus)
        self._workers = [
            Worker(index, evaluator, limits, *devices[index % len(devices)]) for index in range(workers)
        ]
        super().__init__(
            self._workers,
            self._workers[: len(devices)],
            Patience(deadline_s, setup_s, tries),
            None if folder is None else folder / EVENTS,
            subnets_per_pass,
            order,
        )
        self._finalizer = weakref.finalize(self, stop_all, self._workers)

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Return when a pipe has something to read, after some seconds, or in time to look for deaths."""
        wait([worker.connection for worker in workers], timeout=min(seconds, _LOOK_S))


def _devices(gpus: int) -> list[tuple[str, str | None]]:
    """Name and CUDA_VISIBLE_DEVICES of each device; a mask that is set already is divided, not replaced."""
    if gpus == 0:
        return [("cpu", None)]
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = [str(index) for index in range(gpus)] if mask is None else [x for x in mask.split(",") if x]
    if len(visible) < gpus:
        raise EngineError(
            f"hardware.devices is {gpus}, but CUDA_VISIBLE_DEVICES={mask} shows {len(visible)}.",
            f"hardware.devices={len(visible) or 1}",
        )
    return [(f"gpu{name}", name) for name in visible[:gpus]]
