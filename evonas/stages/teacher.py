"""The stage that trains the teacher."""

import torch

from evonas import files, weights
from evonas.config import to_plain
from evonas.stages import assembly, subnets
from evonas.stages.base import Context
from evonas.stages.listening import listening

RESULT = "teacher/result.json"


class Teacher:
    """Trains the network of `teacher=` on the task, from seeded weights."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write teacher/teacher.safetensors and its holdout metrics."""
        if not context.cfg.distill:
            return "Without distillation there is no teacher to train."
        path = context.run.path(assembly.TEACHER)
        result = context.run.path(RESULT)
        task, recipe = assembly.task(context.cfg), assembly.recipe(context.cfg, "teacher")
        identity = subnets.identity(recipe, "teacher", network=to_plain(context.cfg.teacher))
        if context.run.resume and result.exists() and subnets.is_made(path, identity):
            return f"The teacher is trained: {path}"
        net = assembly.teacher(context.cfg, task)
        steps = subnets.total_steps(task, recipe)
        with listening(context, "teacher", "Teacher", steps, path.parent) as listener:
            state = path.parent / "state.safetensors"
            cost = subnets.fit_net(context, net, task, recipe, identity, state, listener, {})
            metrics = subnets.holdout(context, net, task)
            listener.measured(metrics)
        weights.save(path, net.state_dict(), {"identity": identity})
        files.write_json(result, _result(context, net, cost, metrics))
        return f"Teacher, holdout {task.error_name} {metrics[task.error_name]:.4f}: {path}"


def _result(
    context: Context, net: torch.nn.Module, cost: subnets.Fitted, metrics: dict[str, float]
) -> dict[str, object]:
    return {
        "name": str(context.cfg.teacher.get("name", "teacher")),
        "params": sum(parameter.numel() for parameter in net.parameters()),
        "steps": cost.steps,
        "seconds": cost.seconds,
        "metrics": metrics,
    }
