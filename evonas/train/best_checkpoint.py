"""Selection of the best weights of a curriculum step by panel error."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from evonas import weights
from evonas.train.module import SupernetModule

Rows = list[dict[str, Any]]


class BestCheckpoint(Callback):
    """Evaluates a validation panel every few epochs and after the last one, and keeps the best weights.

    Measurements and best weights are part of the training checkpoint. After the last epoch both are written
    to `path`.

    Args:
        measure: returns the rows of the panel on a device; leaves the network in eval mode.
        score: maps rows to the minimised error; ties go to the earlier epoch.
        every: epochs between evaluations.
        path: weights file; its metadata contain `measured` and `identity`.
        identity: identity of the training.
    """

    def __init__(
        self,
        measure: Callable[[torch.device], Rows],
        score: Callable[[Sequence[Mapping[str, Any]]], float],
        every: int,
        path: Path,
        identity: Mapping[str, Any],
    ) -> None:
        self._measure, self._score, self._every = measure, score, every
        self._path, self._identity = path, dict(identity)
        self.measured: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}

    @override
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluates the panel if it is due; on all ranks, of which rank 0 provides the values."""
        epoch = trainer.current_epoch + 1
        is_last = epoch == trainer.max_epochs
        if epoch % self._every and not is_last:
            return
        assert isinstance(pl_module, SupernetModule)
        with pl_module.averaged():
            rows: Rows = trainer.strategy.broadcast(self._measure(pl_module.device))
            pl_module.train()
            error = self._score(rows)
            if all(error < each["error"] for each in self.measured):
                state = pl_module.supernet.state_dict()
                self._best = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.measured.append({"epoch": epoch, "error": error, "panel": rows})
        if is_last and trainer.is_global_zero:
            weights.save(self._path, self._best, {"identity": self._identity, "measured": self.measured})

    @override
    def state_dict(self) -> dict[str, Any]:
        """The measurements and the best weights."""
        return {"measured": self.measured, "best": self._best}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.measured, self._best = list(state_dict["measured"]), dict(state_dict["best"])


def best_epoch(measured: Sequence[Mapping[str, Any]]) -> int:
    """The epoch with the lowest panel error."""
    return int(min(measured, key=lambda each: each["error"])["epoch"])
