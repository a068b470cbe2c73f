"""Runs a training with Lightning, on one device or several, with durable checkpoints."""

import logging
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from evonas import weights
from evonas.errors import EngineError, UserError
from evonas.identifiers import identified
from evonas.nn.checkpointing import recomputing
from evonas.schema import LATER_RECIPE_SETTINGS
from evonas.train.loop.callbacks import Checkpointing, StepReporter
from evonas.train.loop.checkpoint_io import SafeCheckpointIO, remove
from evonas.train.loop.data import TrainingData
from evonas.train.loop.ddp_strategy import ForkedDDPStrategy, Listener, own_environment, relayed
from evonas.train.loop.sync_batchnorm import synchronise
from evonas.train.module import TrainingModule

_STRATEGIES = ("auto", "ddp")
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, slots=True)
class Devices:
    """Hardware settings of a training.

    Args:
        accelerator: a Lightning accelerator: cpu, gpu, mps, auto.
        devices: number of devices; each has its own process and an equal share of every batch.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        strategy: `auto` or `ddp`; both are equivalent.
        loader_workers: data loading processes per device.
        sync_batchnorm: whether batch-norm statistics are synchronised over devices.
        detect_anomaly: whether a NaN gradient aborts the training and names the operation.
        recompute: whether blocks use activation checkpointing.
        profile: whether `fit-profile.txt` is written beside the checkpoint.

    Raises:
        UserError: a setting is unknown.
    """

    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    strategy: str = "auto"
    loader_workers: int = 0
    sync_batchnorm: bool = False
    detect_anomaly: bool = False
    recompute: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise UserError(
                f"hardware.precision={self.precision} is unknown.", f"Choose among {', '.join(_PRECISIONS)}."
            )
        if self.strategy not in _STRATEGIES:
            raise UserError(
                f"hardware.strategy={self.strategy} is unknown.", f"Choose among {', '.join(_STRATEGIES)}."
            )
        if self.devices < 1:
            raise UserError(f"hardware.devices must be at least 1, got {self.devices}.", "Try 1.")

    @property
    def torch_device(self) -> torch.device:
        """The device of evaluations between trainings.

        With several devices it is the CPU: ranks are forked, and CUDA does not survive a fork.
        """
        names = {"gpu": "cuda", "cuda": "cuda", "mps": "mps"}
        return torch.device("cpu" if self.devices > 1 else names.get(self.accelerator, "cpu"))


@dataclass(frozen=True, slots=True)
class Resumable:
    """Checkpoint settings of a training.

    Args:
        path: checkpoint file, replaced after every epoch.
        identity: JSON data; a checkpoint with another identity is refused.
        resume: whether an existing checkpoint is resumed or removed.
        every: optimizer steps between checkpoints within an epoch; 0 for none.
        keep: whether the checkpoint of a finished training is kept; the caller then removes it once the
            results are durable.
    """

    path: Path
    identity: Mapping[str, Any]
    resume: bool
    every: int = 0
    keep: bool = False


def fit(
    module: TrainingModule,
    data: TrainingData,
    epochs: int,
    devices: Devices,
    state: Resumable | None = None,
    listen: Listener | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Trains `module` for `epochs`, resuming from `state` if requested.

    With several devices the ranks are forked processes; `module` has the weights of rank 0 afterwards, and only
    rank 0 writes files.

    Args:
        module: the module to train, in place.
        data: the training split.
        epochs: passes over it.
        devices: hardware settings.
        state: checkpoint settings; None trains without checkpoints.
        listen: called after every optimizer step with the number of finished steps and
            {"loss", "lr"}; after a resume, first with an empty mapping.
        callbacks: Lightning callbacks; they run before the checkpoint that contains their state is written.

    Raises:
        UserError: the batch size is not divisible by the devices, or the checkpoint has other settings.
        EngineError: a rank died.
    """
    data.check_shares(devices.devices)
    start = _starting_point(state) if state else None
    with ExitStack() as stack:
        for context in (_quiet(), _own_signals(), own_environment(), recomputing(devices.recompute)):
            stack.enter_context(context)
        if devices.devices > 1:
            listen = stack.enter_context(relayed(listen)) if listen else None
            if devices.sync_batchnorm:
                synchronise(module)
        every = [*([StepReporter(listen)] if listen else []), *callbacks]
        if state:
            every.append(Checkpointing(state.path, state.every))
        _run(_trainer(epochs, devices, every, state), module, data, start)
        module.take_average()
    if state and not state.keep:
        remove(state.path)


def _run(trainer: lightning.Trainer, module: TrainingModule, data: TrainingData, start: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=start)
    except SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        # Lightning converts Ctrl-C into SystemExit
        raise KeyboardInterrupt from error
    except ProcessRaisedException as error:
        # the last line of the traceback that names an error
        lines = [line for line in str(error).splitlines() if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
        reason = lines[-1] if lines else str(error).strip()
        raise EngineError(f"A training process failed: {reason}") from error
    except ProcessExitedException as error:
        raise EngineError(f"A training process died: {error}.", "Continue with resume=true.") from error
    if trainer.interrupted:
        raise KeyboardInterrupt


def _trainer(
    epochs: int, devices: Devices, callbacks: list[Callback], state: Resumable | None
) -> lightning.Trainer:
    identity = state.identity if state else {}
    plugin = _precision_plugin(devices.precision, devices.accelerator)
    plugins: list[Any] = [SafeCheckpointIO({"identity": identity}), *([plugin] if plugin else [])]
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator=devices.accelerator,
        devices=devices.devices,
        precision=None if plugin else devices.precision,  # type: ignore[arg-type]
        strategy=ForkedDDPStrategy() if devices.devices > 1 else "auto",
        callbacks=callbacks,
        plugins=plugins,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        detect_anomaly=devices.detect_anomaly,
        profiler=SimpleProfiler(state.path.parent, "profile") if devices.profile and state else None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _precision_plugin(name: str, accelerator: str) -> MixedPrecision | None:
    """The plugin for mixed precision on the CPU, fp16 with a loss scaler; else None for Lightning's default.

    Lightning replaces fp16 on the CPU by bf16.
    """
    if name == "32-true" or accelerator != "cpu":
        return None
    scaler = torch.amp.GradScaler("cpu") if name == "16-mixed" else None
    return MixedPrecision(cast(Literal["16-mixed", "bf16-mixed"], name), "cpu", scaler)


def _starting_point(state: Resumable) -> Path | None:
    if not state.path.exists():
        return None
    if not state.resume:
        remove(state.path)
        return None
    check_identity(state.path, state.identity)
    return state.path


def check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Compares the identity in a checkpoint with `identity`.

    Raises:
        UserError: they differ; the message names the first different setting.
    """
    saved = identified(weights.load_meta(path).get("identity", {}))
    for key in sorted({*saved, *identity}):
        if saved.get(key) != identity.get(key):
            # identities leave out what came later and is not used
            was, now = (each.get(key, LATER_RECIPE_SETTINGS.get(key)) for each in (saved, identity))
            raise UserError(
                f"{path.name} was trained with {key}={was}, now it is {now}.",
                "Use the old settings, or another run (run=<new name>).",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses Lightning's log messages and warnings."""
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
    """Restores the caller's signal handlers, which Lightning replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
