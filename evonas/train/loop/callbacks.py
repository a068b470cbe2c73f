"""Lightning callbacks: checkpoints and reports of finished steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from evonas.train.loop.ddp_strategy import Listener
from evonas.train.optim import gradients


class Checkpointing(Callback):
    """Saves a checkpoint after every epoch and after every `every` optimizer steps, replacing the previous one.

    Args:
        path: checkpoint file.
        every: optimizer steps between checkpoints; 0 saves after epochs only.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every

    @override
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves within an epoch; after its last step `on_train_epoch_end` saves."""
        is_last = batch_idx + 1 == trainer.num_training_batches
        if self._every and trainer.global_step % self._every == 0 and not is_last:
            trainer.save_checkpoint(self._path)

    @override
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves at the end of the epoch."""
        trainer.save_checkpoint(self._path)


class StepReporter(Callback):
    """Reports every step to a listener: loss over the images of all ranks, learning rate and noted metrics."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen

    @override
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Reports the number of finished steps after a resume."""
        if trainer.global_step and trainer.is_global_zero:
            self._listen(trainer.global_step, {})

    @override
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Reports the finished step."""
        loss = gradients.mean_over_ranks(outputs["loss"] if isinstance(outputs, Mapping) else outputs)
        rate = pl_module.schedule.at(trainer.global_step - 1)
        values = {"loss": loss, "lr": rate, **pl_module.noted}
        if trainer.is_global_zero:
            self._listen(trainer.global_step, values)
