"""What subnets' losses on the images of a step are, asked without leaving a trace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evonas.nn.detection.base import show_regions
from evonas.nn.recalibrate import batch_norms
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Batch, Task
from evonas.train.optim import gradients


class LossJudge:
    """The task's loss of any subnet on one batch, over the images of all ranks.

    Nothing drops out, batch norm uses the statistics of the batch as it does in training, and neither
    weights, running statistics nor random numbers are touched.
    """

    def __init__(self, supernet: Supernet, task: Task, batch: Batch) -> None:
        self._supernet, self._task, self._batch = supernet, task, batch

    @torch.no_grad()
    def __call__(self, genotypes: Sequence[Genotype]) -> list[float]:
        """One loss for each; equal on every rank."""
        with asked(self._supernet):
            found = [self._loss(genotype) for genotype in genotypes]
        return [gradients.mean_over_ranks(loss) for loss in found]

    def _loss(self, genotype: Genotype) -> Tensor:
        image = self._batch["image"]
        # detectors draw the regions they learn from: the same for all who are compared, and for nobody after
        with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
            return self._task.loss(self._supernet(image, genotype), self._batch)


@contextmanager
def asked(net: nn.Module) -> Iterator[None]:
    """Inside, a network answers as in training but keeps nothing of it; its modes are restored."""
    modes = {module: module.training for module in net.modules()}
    norms = batch_norms(net)
    tracked = [norm.track_running_stats for norm in norms]
    net.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    show_regions(net)
    try:
        yield
    finally:
        for norm, tracks in zip(norms, tracked, strict=True):
            norm.track_running_stats = tracks
        for module, mode in modes.items():
            module.training = mode
