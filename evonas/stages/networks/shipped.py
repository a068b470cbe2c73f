"""Error, latency and size of networks as runtimes compute them in several precisions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from evonas.config import build, to_plain
from evonas.data.loading.batches import calibration
from evonas.errors import UserError
from evonas.objectives.latency.benchmark import NOMINAL, measure_credibly
from evonas.objectives.latency.cpu_affinity import pinned
from evonas.objectives.latency.reference_timing import counting_preemptions
from evonas.randomness import derive
from evonas.runtimes.base import PRECISIONS, Settings
from evonas.runtimes.choice import RUNTIMES, Auto, named, resolved
from evonas.runtimes.network import RuntimeNetwork
from evonas.runtimes.quantisation import Quantisation, check_kept
from evonas.runtimes.remote import Remote
from evonas.stages.base import Context
from evonas.stages.training.setup import EvaluationSetup

CPU = torch.device("cpu")


def check_precisions(precisions: Sequence[str], known: Sequence[str] = PRECISIONS) -> None:
    """Raise a UserError for a precision that is not known."""
    for each in precisions:
        if each not in known:
            raise UserError(
                f"stage.precisions: '{each}' is unknown.", f"Choose among {', '.join(known)}: [fp32,int8]"
            )


def _configured(context: Context) -> Settings:
    """What runs networks here: `runtime`, or what is the default where that is a device elsewhere."""
    node = context.cfg.get("runtime")
    runtime = build(to_plain(node)) if node else None
    return runtime if isinstance(runtime, Settings) and not isinstance(runtime, Remote) else Auto()


def quantisation(context: Context) -> Quantisation:
    """How networks are quantised: `runtime.int8`."""
    return _configured(context).int8


def calibration_images(context: Context, settings: Quantisation) -> list[Tensor]:
    """Images of the training split to quantise with."""
    return calibration(context.setup.task.dataset("train"), settings.images, 16)


class Shipped:
    """Measures networks on the test split and the clock, on the CPU.

    Args:
        setup: scores networks.
        precisions: of `PRECISIONS`; none for nothing.
        runtimes: names; none for that of the config group `runtime`, `all` for every one.

    Raises:
        UserError: a precision or a runtime is unknown.
    """

    def __init__(
        self, setup: EvaluationSetup, precisions: Sequence[str], runtimes: Sequence[str] = ()
    ) -> None:
        check_precisions(precisions)
        self._setup, self._precisions = setup, precisions
        own = _configured(setup.context)
        self._int8 = quantisation(setup.context)
        names = list(RUNTIMES) if "all" in runtimes else list(runtimes)
        chosen = [named(name, own.threads) for name in names] or [own]
        self._runtimes: list[Settings] = [replace(each, int8=self._int8) for each in chosen]

    def rows(self, name: str, net: nn.Module) -> Iterator[dict[str, Any]]:
        """One row for each runtime and precision, as JSON data; where one is not to be had, with the reason.

        Args:
            name: of the network.
            net: in eval mode.
        """
        if not self._precisions:
            return
        net = net.cpu().eval()
        if "int8" in self._precisions:
            check_kept(self._int8.keep_float, [each for each, _ in net.named_modules()])
        for runtime in self._runtimes:
            for precision in self._precisions:
                row = {"name": name, "runtime": runtime.name, "precision": precision}
                yield {**row, **self._measured(net, replace(runtime, precision=precision, batch=1))}

    @torch.inference_mode()
    def _measured(self, net: nn.Module, settings: Settings) -> Mapping[str, Any]:
        try:
            runtime = resolved(settings, CPU)
            images = (
                calibration_images(self._setup.context, self._int8) if runtime.precision == "int8" else []
            )
            found = RuntimeNetwork(net, runtime, images)
            generator = torch.Generator().manual_seed(derive(0, "latency"))
            image = torch.randn(1, 3, *self._setup.task.input_size, generator=generator)
            with closing(found):
                prepared = found.prepared(image)
                with pinned(runtime.threads, True):
                    timing = measure_credibly(counting_preemptions(prepared.once), NOMINAL)
                metrics = self._setup.score(found, "test")
                size = prepared.size
        except UserError as error:
            return {"reason": error.message}
        summary = timing.summary(0.1)
        return {
            "runtime": runtime.name,
            "version": runtime.version(),
            "threads": runtime.threads,
            "metrics": metrics,
            "ms": timing.median,
            **{key: summary[key] for key in ("low_ms", "high_ms")},
            "mb": None if size is None else size / 1e6,
        }
