"""Order, augmentation and stochastic depth as functions of (seed, epoch) and (seed, step).

No generator's state is ever saved: a resumed training derives what a straight one would
have used, which is what makes both bit-identical on one machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from evonas.errors import UserError
from evonas.randomness import derive, generator


@contextmanager
def seeded(seed: int, purpose: str, step: int = 0) -> Iterator[None]:
    """Inside, torch draws from (seed, purpose, step); outside, its generator is as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, purpose, step))
        yield


class EpochBatches(Sampler[list[int]]):
    """The batches of one epoch: a permutation from (seed, epoch), the incomplete rest dropped.

    Args:
        length: items of the data set.
        batch_size: items of a batch over all ranks.
        seed: seed of this training.
        epoch: which permutation.
        rank, world: the share of every batch that this process takes.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world: int = 1
    ) -> None:
        self._size = min(batch_size, length)
        self._order = generator(seed, "order", epoch).permutation(length)
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return len(self._order) // self._size

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(len(self)):
            whole = self._order[batch * self._size : (batch + 1) * self._size]
            yield [int(index) for index in whole[self._rank :: self._world]]


def batches_per_epoch(length: int, batch_size: int) -> int:
    """Optimizer steps of one epoch; the incomplete last batch is dropped."""
    return length // min(batch_size, length)


class TrainingData(lightning.LightningDataModule):
    """Serves the training split, one freshly derived loader an epoch.

    The trainer must be told `reload_dataloaders_every_n_epochs=1`; `fit` does so.
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int, seed: int, workers: int = 0) -> None:
        super().__init__()
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers
        self.length = len(cast(Any, dataset))
        if self.length == 0:
            raise UserError("The training split is empty.", "Check data.root.")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return batches_per_epoch(self.length, self.batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        """The loader of the trainer's current epoch."""
        trainer = cast(lightning.Trainer, self.trainer)
        epoch = trainer.current_epoch
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        order = EpochBatches(
            self.length, self.batch_size, self.seed, epoch, trainer.global_rank, trainer.world_size
        )
        return DataLoader(self.dataset, batch_sampler=order, num_workers=self.workers)
