"""Several processes that train one network: forked, alike at the start, and joined again at the end."""

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


class Ranks(DDPStrategy):
    """Data parallel training without a wrapper: the module itself averages gradients, once a step.

    `torch.nn.parallel.DistributedDataParallel` would exchange them at every backward pass and
    search for unused parameters, of which every sampled subnet leaves some.
    """

    def __init__(self) -> None:
        super().__init__(start_method="fork")

    @override
    def setup_environment(self) -> None:
        """Join the others; a forked process must not use its parent's pool of threads."""
        torch.set_num_threads(1)
        super().setup_environment()

    @override
    def configure_ddp(self) -> None:
        """Start all ranks from the weights of the first."""
        assert self.model is not None
        gradients.share_state(self.model)


@contextmanager
def relayed(listen: Listener) -> Iterator[Listener]:
    """A listener to call in a forked process; the real one is called here, by a thread.

    Bars and trackers own threads and connections that do not survive a fork.
    """
    queue: Any = mp.get_context("fork").SimpleQueue()

    def forward() -> None:
        while (heard := queue.get()) is not None:
            listen(*heard)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield lambda step, values: queue.put((step, dict(values)))
    finally:
        queue.put(None)
        thread.join()


@contextmanager
def own_environment() -> Iterator[None]:
    """Lightning leaves the port of a finished process group in the environment; take it out again."""
    kept = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
