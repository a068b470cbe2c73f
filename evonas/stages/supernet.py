"""stage=supernet: train the supernet along its curriculum."""

from evonas import weights
from evonas.errors import UserError
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.pretrain import PRETRAINED
from evonas.stages.searching.artifacts import log_artifacts
from evonas.stages.training.supernet_trainer import SupernetTrainer

# written to weights files
_INITIAL = "starting weights"


class Supernet:
    """Trains step after step; every finished step is one durable file in supernet/curriculum.

    With `sampler=none` nothing is trained, and the supernet has its initial weights.
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
            if path.exists() and weights.load_meta(path).get("source") != _INITIAL:
                name = context.run.name
                raise UserError(
                    f"Run '{name}' has a trained supernet, which sampler=none would replace.",
                    f"Start another run by leaving out run={name}, or leave sampler as it was.",
                )
            weights.save(path, weights.load(start), {"source": _INITIAL})
            return f"The supernet keeps its starting weights: {path}"
        trainer = SupernetTrainer(context, "supernet", start)
        if trainer.is_finished():
            return f"The supernet is trained: {trainer.path}"
        trainer.run()
        log_artifacts(context, "supernet", "checkpoint", [trainer.path])
        return f"Supernet, {trainer.panel_mean()}: {trainer.path}"
