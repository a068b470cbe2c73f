"""Training data: batch order and augmentation as functions of (seed, epoch).

Checkpoints contain no generator state: a resumed training derives the same random numbers as an uninterrupted one,
so both are bit-identical on the same machine.
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
    """Seeds torch from (seed, purpose, step) and restores its generators at the end."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, purpose, step))
        yield


class EpochBatches(Sampler[list[int]]):
    """Batch sampler of one epoch: a permutation from (seed, epoch) without the incomplete last batch.

    Args:
        length: items of the data set.
        batch_size: items per batch over all ranks.
        seed: seed of this training.
        epoch: index of the epoch.
        rank: this process.
        world: number of processes; each takes an equal share of every batch.
        first: batches that were trained before a resume; they count in `len`.
        limit: maximum number of batches.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        world: int = 1,
        first: int = 0,
        limit: int | None = None,
    ) -> None:
        self._size = min(batch_size, length)
        self._order = generator(seed, "order", epoch).permutation(length)
        self._rank, self._world, self._first = rank, world, first
        self._count = batches_per_epoch(length, batch_size, limit)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self._first, self._count):
            whole = self._order[batch * self._size : (batch + 1) * self._size]
            yield [int(index) for index in whole[self._rank :: self._world]]


def batches_per_epoch(length: int, batch_size: int, limit: int | None = None) -> int:
    """Optimizer steps per epoch, at most `limit`, without the incomplete last batch."""
    whole = length // min(batch_size, length)
    return whole if limit is None else min(whole, limit)


class TrainingData(lightning.LightningDataModule):
    """Data module of the training split, with a new loader every epoch.

    The trainer needs `reload_dataloaders_every_n_epochs=1`, which `fit` sets.

    Args:
        dataset: its `set_epoch` method, if any, is called with the epoch.
        batch_size: items per batch over all ranks.
        seed: seed of this training.
        workers: data loading processes; they do not affect results.
        max_batches: maximum number of batches per epoch.
        total_steps: optimizer steps of the whole training, which may end within an epoch.

    Raises:
        UserError: the data set is empty.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        seed: int,
        workers: int = 0,
        max_batches: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers
        self.max_batches, self.total_steps = max_batches, total_steps
        self.length = len(cast(Any, dataset))
        if self.length == 0:
            raise UserError("The training split is empty.", "Check data.root.")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return batches_per_epoch(self.length, self.batch_size, self.max_batches)

    def train_dataloader(self) -> DataLoader[Any]:
        """The loader of the trainer's current epoch, starting at its next batch."""
        trainer = cast(lightning.Trainer, self.trainer)
        # trainer.current_epoch lags behind while a checkpoint is restored
        epoch, first = divmod(trainer.global_step, self.steps_per_epoch)
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        limit = self.steps_per_epoch
        if self.total_steps is not None:
            # at least one batch, since Lightning builds a loader even after the last step
            limit = max(1, min(limit, self.total_steps - epoch * limit))
        order = EpochBatches(
            self.length,
            self.batch_size,
            self.seed,
            epoch,
            trainer.global_rank,
            trainer.world_size,
            first,
            limit,
        )
        return DataLoader(self.dataset, batch_sampler=order, num_workers=self.workers)

    def check_shares(self, world: int) -> None:
        """Raises a UserError if the batch size is not divisible by the number of ranks."""
        size = min(self.batch_size, self.length)
        if size % world:
            raise UserError(
                f"A batch of {size} images is not divisible by {world} devices.",
                f"Make train.*.batch_size a multiple of {world}.",
            )
