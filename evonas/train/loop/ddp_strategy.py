"""Data-parallel training in forked processes, without DistributedDataParallel's wrapper."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.multiprocessing as mp
from lightning.pytorch.strategies import DDPStrategy
from typing_extensions import override

from evonas.train.optim import gradients

Listener = Callable[[int, Mapping[str, float]], None]


class ForkedDDPStrategy(DDPStrategy):
    """DDP strategy without a wrapper: the module averages its gradients itself, once per step.

    `torch.nn.parallel.DistributedDataParallel` would average them in every backward pass and search for unused
    parameters, which every sampled subnet has.
    """

    def __init__(self) -> None:
        super().__init__(start_method="fork")

    @override
    def setup_environment(self) -> None:
        """Joins the process group; a forked process must not use its parent's thread pool."""
        torch.set_num_threads(1)
        super().setup_environment()

    @override
    def configure_ddp(self) -> None:
        """Broadcasts the weights of rank 0."""
        assert self.model is not None
        gradients.share_state(self.model)


@contextmanager
def relayed(listen: Listener) -> Iterator[Listener]:
    """Yields a listener for forked processes that forwards its calls to `listen` in a thread of this process.

    Progress bars and trackers own threads and connections, which do not survive a fork.
    """
    queue: Any = mp.get_context("fork").SimpleQueue()

    def forward() -> None:
        while (report := queue.get()) is not None:
            listen(*report)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield lambda step, values: queue.put((step, dict(values)))
    finally:
        queue.put(None)
        thread.join()


@contextmanager
def own_environment() -> Iterator[None]:
    """Removes environment variables that Lightning adds, such as the port of the process group."""
    kept = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
