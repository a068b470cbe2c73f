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
        first: batches that were trained on before this process started; they count in `len`.
        limit: batches of this epoch, if fewer than there are.
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
    """Optimizer steps of one epoch, at most `limit`; the incomplete last batch is dropped."""
    whole = length // min(batch_size, length)
    return whole if limit is None else min(whole, limit)


class TrainingData(lightning.LightningDataModule):
    """Serves the training split, one freshly derived loader an epoch.

    The trainer must be told `reload_dataloaders_every_n_epochs=1`; `fit` does so.

    Args:
        dataset: its `set_epoch`, if it has one, is told the epoch.
        batch_size: items of a batch over all ranks.
        seed: seed of this training.
        workers: processes that load; they change nothing but the speed.
        max_batches: ceiling on the batches of an epoch.
        total_steps: optimizer steps of the whole training, which may end within an epoch.
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
        """Optimizer steps of one epoch."""
        return batches_per_epoch(self.length, self.batch_size, self.max_batches)

    def train_dataloader(self) -> DataLoader[Any]:
        """The loader of the epoch that the trainer is in, from the batch that comes next."""
        trainer = cast(lightning.Trainer, self.trainer)
        # the trainer's own count of epochs lags behind while a checkpoint is restored
        epoch, first = divmod(trainer.global_step, self.steps_per_epoch)
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        rank, world = trainer.global_rank, trainer.world_size
        order = EpochBatches(
            self.length, self.batch_size, self.seed, epoch, rank, world, first, self._left(epoch)
        )
        return DataLoader(self.dataset, batch_sampler=order, num_workers=self.workers)

    def _left(self, epoch: int) -> int:
        """Batches of an epoch; at least one, as Lightning asks for a loader even when all is done."""
        if self.total_steps is None:
            return self.steps_per_epoch
        return max(1, min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch))

    def check_shares(self, world: int) -> None:
        """Refuse a batch that does not give every rank as much, which would weight gradients wrongly."""
        size = min(self.batch_size, self.length)
        if size % world:
            raise UserError(
                f"A batch of {size} images cannot be shared by {world} devices.",
                f"Make train.*.batch_size a multiple of {world}.",
            )
