"""The stage that makes the supernet's starting weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evonas import files, weights
from evonas.errors import EvoNASError
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.training.supernet_trainer import Walk
from evonas.tasks.classification import Classification

PRETRAINED = "pretrain/supernet.safetensors"
START = "pretrain/start.safetensors"


class Pretrain:
    """Starting weights: drawn from the seed or taken from a file, and on request trained.

    Args:
        weights: a safetensors or `.pth` file in our naming or in VSSD's; None for the starting
            weights of the run named by `inputs=`, and without one for those of the seed.
        train: walk the curriculum of `sampler=` by the recipe `train.pretrain`, from there on;
            None to do so where the task is a classification.
        widening: how a smaller network is put into this one: `zeros` keeps the subnet of its
            size as it was, `copies` the largest one.
    """

    needs_task = True

    def __init__(
        self, weights: str | None = None, train: bool | None = False, widening: str = "zeros"
    ) -> None:
        self.weights, self.train, self.widening = weights, train, widening

    def run(self, context: Context) -> str:
        """Write the starting weights and say where they came from."""
        origin = self._origin(context)
        if not self._trains(context):
            return _kept(context, origin, PRETRAINED)
        start = None
        if origin.file is not None:
            print(_kept(context, origin, START), flush=True)
            start = context.run.path(START)
        walk = Walk(context, "pretrain", "pretrain", start)
        if walk.is_finished():
            return f"The supernet is pretrained: {walk.path}"
        walk.run()
        return f"Pretrained, {walk.panel_mean()}: {walk.path}"

    def _trains(self, context: Context) -> bool:
        if self.train is None:
            return isinstance(context.setup.task, Classification)
        return self.train

    def _origin(self, context: Context) -> "_Origin":
        if self.weights:
            return _Origin(Path(self.weights).expanduser(), self.widening)
        if context.run.inputs is not None and (context.run.inputs / PRETRAINED).exists():
            return _Origin(context.run.inputs / PRETRAINED, self.widening)
        return _Origin(None, self.widening)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where weights come from: a file, or the seed."""

    file: Path | None
    widening: str


def _kept(context: Context, origin: _Origin, target: str) -> str:
    """Write the weights that the origin gives, and say what they are."""
    net = factory.supernet(context.setup)
    path = context.run.path(target)
    if origin.file is None:
        weights.save(path, net.state_dict(), {"source": "seed", "seed": context.cfg.seed})
        return f"Starting weights from seed: {path}"
    try:
        adoption = net.family.adopt(net, weights.load_foreign(origin.file), origin.widening)
    except EvoNASError as error:
        raise type(error)(f"{origin.file}: {error.message}", error.hint) from error
    meta: dict[str, Any] = {
        "source": origin.file.name,
        "sha256": files.sha256(origin.file),
        **adoption.facts(),
    }
    weights.save(path, net.state_dict(), meta)
    return f"Starting weights from {origin.file}: {adoption.sentence()}.\n{path}"
