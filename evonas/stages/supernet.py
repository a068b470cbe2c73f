"""stage=supernet: train the supernet along its curriculum."""

from pathlib import Path

from torch import Tensor

from evonas import weights
from evonas.errors import UserError
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.pretrain import PRETRAINED
from evonas.stages.training.sorting import sort_by_losses
from evonas.stages.training.supernet_trainer import SupernetTrainer

# written to weights files
STARTING = "starting weights"


class Supernet:
    """Trains step after step; every finished step is one durable file in supernet/curriculum.

    With `sampler=none` nothing is trained, and the supernet has its initial weights; a family that sorts channels by
    losses (`network.order=taylor`) does so.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Write supernet/supernet.safetensors, panel.json and metrics.csv.

        Raises:
            UserError: sampler=none would replace a trained supernet.
        """
        start = context.run.need(PRETRAINED, made_by="pretrain")
        if "_target_" not in (context.cfg.sampler or {}):
            path = context.run.path(factory.SUPERNET)
            if path.exists() and weights.load_meta(path).get("source") != STARTING:
                name = context.run.name
                raise UserError(
                    f"Run '{name}' has a trained supernet, which sampler=none would replace.",
                    f"Start another run by leaving out run={name}, or leave sampler as it was.",
                )
            weights.save(path, self._sorted(context, start), {"source": STARTING})
            return f"The supernet keeps its starting weights: {path}"
        trainer = SupernetTrainer(context, "supernet", start)
        if trainer.is_finished():
            return f"The supernet is trained: {trainer.path}"
        trainer.run()
        return f"Supernet, {trainer.panel_mean()}: {trainer.path}"

    def _sorted(self, context: Context, start: Path) -> dict[str, Tensor]:
        """The initial weights, sorted by losses where the family does that."""
        if not hasattr(context.setup.family, "sort_by_losses"):
            return weights.load(start)
        net = factory.supernet(context.setup)
        factory.load_into(net, start)
        sort_by_losses(net, context.setup.task, context.cfg.train.supernet.batch_size)
        return net.state_dict()
