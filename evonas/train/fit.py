"""Run one training to its end, quietly, with a durable checkpoint after every epoch."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

from evonas import weights
from evonas.errors import UserError
from evonas.train.checkpoint import SafeCheckpointIO, remove
from evonas.train.determinism import TrainingData
from evonas.train.module import Fitting

Listener = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class Devices:
    """Where training runs, in Lightning's words; `loader_workers` are processes that load data."""

    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    strategy: str = "auto"
    loader_workers: int = 0

    @property
    def torch_device(self) -> torch.device:
        """The device that evaluates between trainings."""
        names = {"gpu": "cuda", "cuda": "cuda", "mps": "mps"}
        return torch.device(names.get(self.accelerator, "cpu"))


@dataclass(frozen=True, slots=True)
class Resumable:
    """The state of an unfinished training on disk.

    Args:
        path: one file, replaced after every epoch and removed at the end.
        identity: plain JSON; a file that says otherwise is refused.
        resume: whether a file that is there is continued or removed.
    """

    path: Path
    identity: Mapping[str, Any]
    resume: bool


def fit(
    module: Fitting,
    data: TrainingData,
    epochs: int,
    devices: Devices,
    state: Resumable | None = None,
    listen: Listener | None = None,
) -> None:
    """Train for `epochs`, continuing from `state` where it says so.

    Args:
        listen: called after every optimizer step with the number of finished steps and
            {"loss", "lr"}; after a resume, first with an empty mapping.
    """
    start = _starting_point(state) if state else None
    callbacks: list[Callback] = [_Listening(listen)] if listen else []
    if state:
        callbacks.append(_EpochCheckpoint(state.path))
    with _quiet(), _own_signals():
        trainer = _trainer(epochs, devices, callbacks, state.identity if state else {})
        _run(trainer, module, data, start)
    if state:
        remove(state.path)


def _run(trainer: lightning.Trainer, module: Fitting, data: TrainingData, start: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=start)
    except SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit of its own
        raise KeyboardInterrupt from error
    if trainer.interrupted:
        raise KeyboardInterrupt


def _trainer(
    epochs: int, devices: Devices, callbacks: list[Callback], identity: Mapping[str, Any]
) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator=devices.accelerator,
        devices=devices.devices,
        precision=devices.precision,  # type: ignore[arg-type]
        strategy=devices.strategy,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO({"identity": identity})],
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _starting_point(state: Resumable) -> Path | None:
    if not state.path.exists():
        return None
    if not state.resume:
        remove(state.path)
        return None
    check_identity(state.path, state.identity)
    return state.path


def check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to continue a training that was started with other settings.

    Raises:
        UserError: names the first setting that differs.
    """
    saved = weights.load_meta(path).get("identity", {})
    for key in sorted({*saved, *identity}):
        if saved.get(key) != identity.get(key):
            raise UserError(
                f"{path.name} was trained with {key}={saved.get(key)}, now it is {identity.get(key)}.",
                "Use the old settings, or another run (run=<new name>).",
            )


class _EpochCheckpoint(Callback):
    def __init__(self, path: Path) -> None:
        self._path = path

    @override
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self._path)


class _Listening(Callback):
    def __init__(self, listen: Listener) -> None:
        self._listen = listen

    @override
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.global_step:
            self._listen(trainer.global_step, {})

    @override
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        values = {"loss": float(loss), "lr": pl_module.schedule.at(trainer.global_step - 1)}
        self._listen(trainer.global_step, values)


@contextmanager
def _quiet() -> Iterator[None]:
    """No banners and no advice: Lightning's loggers and warnings are silent inside."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Lightning replaces signal handlers; give the caller's back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
