"""What happens beside the steps of a training: checkpoints, and being heard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from evonas.train.loop.ddp_strategy import Listener
from evonas.train.optim import gradients


class Checkpointing(Callback):
    """One durable file, replaced after every epoch and after every `every` optimizer steps.

    Args:
        path: the file.
        every: 0 for epochs alone.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every

    @override
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch; its last step is saved by the epoch's end."""
        is_last = batch_idx + 1 == trainer.num_training_batches
        if self._every and trainer.global_step % self._every == 0 and not is_last:
            trainer.save_checkpoint(self._path)

    @override
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save what the epoch came to."""
        trainer.save_checkpoint(self._path)


class Listening(Callback):
    """Tells a listener every step: the loss over all ranks' images, and the learning rate."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen

    @override
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """After a resume: the steps that are done."""
        if trainer.global_step and trainer.is_global_zero:
            self._listen(trainer.global_step, {})

    @override
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step that has just been taken."""
        loss = gradients.mean_over_ranks(outputs["loss"] if isinstance(outputs, Mapping) else outputs)
        rate = pl_module.schedule.at(trainer.global_step - 1)
        values = {"loss": loss, "lr": rate, **pl_module.noted}
        if trainer.is_global_zero:
            self._listen(trainer.global_step, values)
