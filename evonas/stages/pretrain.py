"""stage=pretrain: the initial weights of the supernet."""

from pathlib import Path
from typing import Any

from evonas import files, weights
from evonas.errors import EvoNASError
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.training.supernet_trainer import SupernetTrainer
from evonas.tasks.classification import Classification

PRETRAINED = "pretrain/supernet.safetensors"
START = "pretrain/start.safetensors"
# written to files whose head was drawn from the seed by the run that they come from
_UNTRAINED = "untrained_head"


class Pretrain:
    """Initial weights: drawn from the seed or adopted from a file, and on request trained.

    Args:
        weights: a safetensors or `.pth` file with the names of evonas or others that the family knows; None for
            `network.weights`, else the initial weights of the run named by `inputs=`, else those of the seed.
        train: whether they are trained along the curriculum of `sampler=` by the recipe `train.pretrain`;
            None trains classification tasks only, and nothing with sampler=none.
        widening: how a larger supernet adopts a smaller network: `zeros` leaves the outputs of the subnet
            of its size unchanged, `copies` those of the largest subnet.
    """

    needs_task = True

    def __init__(
        self, weights: str | None = None, train: bool | None = False, widening: str = "zeros"
    ) -> None:
        self.weights, self.train, self.widening = weights, train, widening

    def run(self, context: Context) -> str:
        """Write the initial weights and say where they came from."""
        inherited = None if context.run.inputs is None else context.run.inputs / PRETRAINED
        file = inherited if inherited is not None and inherited.exists() else None
        if given := self.weights or context.cfg.network.get("weights"):
            file = Path(given).expanduser()
        train = self.train
        if train is None:
            # sampler=none leaves nothing to train along
            train = isinstance(context.setup.task, Classification) and bool(context.cfg.sampler)
        if not train:
            return self._write(context, file, PRETRAINED)
        start = None
        if file is not None:
            print(self._write(context, file, START), flush=True)
            start = context.run.path(START)
        trainer = SupernetTrainer(context, "pretrain", start)
        if trainer.is_finished():
            return f"The supernet is pretrained: {trainer.path}"
        trainer.run()
        return f"Pretrained, {trainer.panel_mean()}: {trainer.path}"

    def _write(self, context: Context, file: Path | None, target: str) -> str:
        """Write the weights of a file, or those of the seed, and say what they are."""
        net = factory.supernet(context.setup)
        path = context.run.path(target)
        if file is None:
            weights.save(path, net.state_dict(), {"source": "seed", "seed": context.cfg.seed})
            return f"Starting weights from seed: {path}"
        try:
            entries = getattr(net.family, "checkpoint_entries", weights.ENTRIES)
            adoption = net.family.adopt(net, weights.load_foreign(file, entries), self.widening)
        except EvoNASError as error:
            raise type(error)(f"{file}: {error.message}", error.hint) from error
        meta: dict[str, Any] = {"source": file.name, "sha256": files.sha256(file), **adoption.facts()}
        if weights.manifest(file).exists() and not has_trained_head(file):
            meta[_UNTRAINED] = True
        weights.save(path, net.state_dict(), meta)
        return f"Starting weights from {file}: {adoption.sentence()}.\n{path}"


def has_trained_head(path: Path) -> bool:
    """Whether the head in a file of ours was trained: neither drawn from the seed nor left out when adopted."""
    meta = weights.load_meta(path)
    left = any(name.startswith("head.") for name in meta.get("left", ()))
    return not (meta.get("source") == "seed" or left or meta.get(_UNTRAINED))
