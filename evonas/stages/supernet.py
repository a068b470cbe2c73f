"""The stage that trains the supernet along its curriculum."""

from evonas.stages.base import Context
from evonas.stages.curriculum import Walk
from evonas.stages.pretrain import PRETRAINED


class Supernet:
    """Trains step after step; every finished step is one durable file in supernet/curriculum."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write supernet/supernet.safetensors, panel.json and metrics.csv."""
        walk = Walk(context, "supernet", "supernet", context.run.need(PRETRAINED, made_by="pretrain"))
        if walk.is_finished():
            return f"The supernet is trained: {walk.path}"
        error = walk.run()
        return f"Supernet, mean holdout {walk.task.error_name} of the panel {error:.4f}: {walk.path}"
