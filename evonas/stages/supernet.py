"""The stage that trains the supernet along its curriculum."""

from pathlib import Path

from evonas import weights
from evonas.errors import UserError
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.pretrain import PRETRAINED
from evonas.stages.searching.artifacts import keep
from evonas.stages.training.supernet_trainer import Walk

_STARTING = "starting weights"


class Supernet:
    """Trains step after step; every finished step is one durable file in supernet/curriculum.

    With `sampler=none` nothing is trained, and the starting weights are the supernet's.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Write supernet/supernet.safetensors, panel.json and metrics.csv."""
        start = context.run.need(PRETRAINED, made_by="pretrain")
        if "_target_" not in (context.cfg.sampler or {}):
            path = context.run.path(factory.SUPERNET)
            _refuse_to_replace(path, context.run.name)
            weights.save(path, weights.load(start), {"source": _STARTING})
            return f"The supernet keeps its starting weights: {path}"
        walk = Walk(context, "supernet", "supernet", start)
        if walk.is_finished():
            return f"The supernet is trained: {walk.path}"
        walk.run()
        keep(context, "supernet", "checkpoint", [walk.path])
        return f"Supernet, {walk.panel_mean()}: {walk.path}"


def _refuse_to_replace(path: Path, run: str) -> None:
    if path.exists() and weights.load_meta(path).get("source") != _STARTING:
        raise UserError(
            f"Run '{run}' has a trained supernet, which sampler=none would replace.",
            f"Start another run by leaving out run={run}, or leave sampler as it was.",
        )
