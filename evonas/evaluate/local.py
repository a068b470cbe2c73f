"""The local engine: supervised worker processes on this machine.

It monitors pipes, processes and a deadline per job on the monotonic clock. A job stays in the supervisor until
its outcome is yielded, so that a dead worker cannot lose it.
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
from evonas.evaluate.supervisor import RetryPolicy, Supervisor, require_positive, stop_all

# polling interval in seconds; the pipe does not report a death while a grandchild holds it open
_POLL_S = 0.5


class LocalEngine(Supervisor):
    """Worker processes, assigned to the devices of this machine in turn.

    Args:
        evaluator: config with `_target_`, or a picklable factory from an importable module.
        workers: processes of the `shared` part; the `exclusive` part uses one per device.
        threads_per_worker: threads of numerical libraries in each worker.
        deadline_s: maximum time of one measurement, in seconds.
        tries: number of lost workers after which a job fails.
        memory_gb: limit of the address space per worker, or None; importing torch takes several GB.
        log_dir: folder of the workers' output (a few MB each) and of the event log; None discards both.
        setup_s: maximum time of the evaluator's setup, in seconds.
        gpus: number of GPUs; each worker sees one of them. With 0, workers see all GPUs.
        subnets_per_pass: maximum number of shared jobs per pass, if the evaluator is a `BatchEvaluator`.
        order: sort key of genotypes; neighbours share computation and are measured in one pass.
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
            evaluator,
            self._workers,
            self._workers[: len(devices)],
            RetryPolicy(deadline_s, setup_s, tries),
            None if folder is None else folder / EVENTS,
            subnets_per_pass,
            order,
        )
        self._finalizer = weakref.finalize(self, stop_all, self._workers)

    @property
    def pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Block until a pipe is readable, for at most `seconds` or the polling interval."""
        wait([worker.connection for worker in workers], timeout=min(seconds, _POLL_S))


def _devices(gpus: int) -> list[tuple[str, str | None]]:
    """Name and CUDA_VISIBLE_DEVICES of each device; an existing mask is divided."""
    if gpus == 0:
        return [("cpu", None)]
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = [str(index) for index in range(gpus)] if mask is None else [x for x in mask.split(",") if x]
    if len(visible) < gpus:
        raise EngineError(
            f"hardware.devices is {gpus}, but CUDA_VISIBLE_DEVICES={mask} lists {len(visible)}.",
            f"hardware.devices={len(visible) or 1}",
        )
    return [(f"gpu{name}", name) for name in visible[:gpus]]
