"""Loss oracle: losses of subnets on the current batch, computed without side effects."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evonas.nn.bn_calibration import batch_norms
from evonas.nn.detection.base import output_regions
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Batch, Task
from evonas.train.optim import gradients


class BatchLossOracle:
    """Computes the task loss of subnets on one batch, averaged over all ranks.

    Dropout and stochastic depth are off and batch norm normalises with batch statistics, as in training. Weights,
    running statistics and random generators stay unchanged.
    """

    def __init__(self, supernet: Supernet, task: Task, batch: Batch) -> None:
        self._supernet, self._task, self._batch = supernet, task, batch

    @torch.no_grad()
    def __call__(self, genotypes: Sequence[Genotype]) -> list[float]:
        """The loss of each genotype; equal on every rank."""
        image, found = self._batch["image"], list[Tensor]()
        with side_effect_free(self._supernet):
            for genotype in genotypes:
                # detectors sample regions: all compared subnets get the same ones, and the generator is restored
                with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
                    found.append(self._task.loss(self._supernet(image, genotype), self._batch))
        return [gradients.mean_over_ranks(loss) for loss in found]


@contextmanager
def side_effect_free(net: nn.Module) -> Iterator[None]:
    """Puts batch norms into training mode without running statistics, and all else into eval mode.

    All modes are restored at the end.
    """
    modes = {module: module.training for module in net.modules()}
    norms = batch_norms(net)
    tracked = [norm.track_running_stats for norm in norms]
    net.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    output_regions(net)
    try:
        yield
    finally:
        for norm, tracks in zip(norms, tracked, strict=True):
            norm.track_running_stats = tracks
        for module, mode in modes.items():
            module.training = mode
