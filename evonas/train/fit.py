"""Run one training to its end, quietly, on one device or several, with durable checkpoints."""

import logging
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from evonas import weights
from evonas.errors import EngineError, UserError
from evonas.identifiers import identified
from evonas.nn.recompute import recomputing
from evonas.train.batch_norm import synchronise
from evonas.train.callbacks import Checkpointing, Listening
from evonas.train.checkpoint import SafeCheckpointIO, remove
from evonas.train.determinism import TrainingData
from evonas.train.module import Fitting
from evonas.train.precision import check_precision, precision_plugin
from evonas.train.ranks import Listener, Ranks, own_environment, relayed

_STRATEGIES = ("auto", "ddp")


@dataclass(frozen=True, slots=True)
class Devices:
    """Where training runs.

    Args:
        accelerator: in Lightning's words: cpu, gpu, mps, auto.
        devices: how many of them; each gets a process of its own, and its share of every batch.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        strategy: `auto` or `ddp`, which mean the same.
        loader_workers: processes that load data, per device.
        sync_batchnorm: whether batch norm sees the images of all devices.
        detect_anomaly: whether a NaN in a gradient ends the training with the name of its operation.
        recompute: whether inner activations of blocks are computed again for the gradients, not kept.
        profile: whether `fit-profile.txt` beside the training's state says where its time went.
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
        check_precision(self.precision)
        if self.strategy not in _STRATEGIES:
            raise UserError(
                f"hardware.strategy={self.strategy} is unknown.", f"Choose among {', '.join(_STRATEGIES)}."
            )
        if self.devices < 1:
            raise UserError(f"hardware.devices={self.devices} is not a number of devices.", "Try 1.")

    @property
    def torch_device(self) -> torch.device:
        """The device that evaluates between trainings.

        With several it is the CPU: processes are forked, and CUDA does not survive a fork.
        """
        names = {"gpu": "cuda", "cuda": "cuda", "mps": "mps"}
        return torch.device("cpu" if self.devices > 1 else names.get(self.accelerator, "cpu"))


@dataclass(frozen=True, slots=True)
class Resumable:
    """The state of an unfinished training on disk.

    Args:
        path: one file, replaced after every epoch.
        identity: plain JSON; a file that says otherwise is refused.
        resume: whether a file that is there is continued or removed.
        every: optimizer steps between checkpoints within an epoch; 0 for none.
        keep: whether the file of a finished training stays; its caller removes it once what
            the training made is durable.
    """

    path: Path
    identity: Mapping[str, Any]
    resume: bool
    every: int = 0
    keep: bool = False


def fit(
    module: Fitting,
    data: TrainingData,
    epochs: int,
    devices: Devices,
    state: Resumable | None = None,
    listen: Listener | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train for `epochs`, continuing from `state` where it says so.

    With several devices the processes are forked and `module` has the weights of the first
    afterwards; only that one writes files.

    Args:
        listen: called after every optimizer step with the number of finished steps and
            {"loss", "lr"}; after a resume, first with an empty mapping.
        callbacks: called before the checkpoint that they may have state in.

    Raises:
        UserError: a batch cannot be shared, or the state belongs to other settings.
        EngineError: a process of several died.
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
        every = [*([Listening(listen)] if listen else []), *callbacks]
        if state:
            every.append(Checkpointing(state.path, state.every))
        trainer = _trainer(epochs, devices, every, state)
        _run(trainer, module, data, start)
    if state and not state.keep:
        remove(state.path)


def _run(trainer: lightning.Trainer, module: Fitting, data: TrainingData, start: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=start)
    except SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit of its own
        raise KeyboardInterrupt from error
    except ProcessRaisedException as error:
        raise EngineError(f"A training process failed: {_reason(str(error))}") from error
    except ProcessExitedException as error:
        raise EngineError(f"A training process died: {error}.", "Continue with resume=true.") from error
    if trainer.interrupted:
        raise KeyboardInterrupt


def _reason(trace: str) -> str:
    """The line of a traceback that names the last error."""
    lines = [line for line in trace.splitlines() if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
    return lines[-1] if lines else trace.strip()


def _trainer(
    epochs: int, devices: Devices, callbacks: list[Callback], state: Resumable | None
) -> lightning.Trainer:
    identity = state.identity if state else {}
    plugin = precision_plugin(devices.precision, devices.accelerator)
    plugins: list[Any] = [SafeCheckpointIO({"identity": identity}), *([plugin] if plugin else [])]
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator=devices.accelerator,
        devices=devices.devices,
        precision=None if plugin else devices.precision,  # type: ignore[arg-type]
        strategy=Ranks() if devices.devices > 1 else "auto",
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
    saved = identified(weights.load_meta(path).get("identity", {}))
    for key in sorted({*saved, *identity}):
        if saved.get(key) != identity.get(key):
            raise UserError(
                f"{path.name} was trained with {key}={saved.get(key)}, now it is {identity.get(key)}.",
                "Use the old settings, or another run (run=<new name>).",
            )


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
