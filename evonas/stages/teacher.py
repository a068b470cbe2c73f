"""The stage that trains the teacher."""

import torch

from evonas import files, weights
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
        if context.run.resume and path.exists() and result.exists():
            return f"The teacher is trained: {path}"
        task, recipe = assembly.task(context.cfg), assembly.recipe(context.cfg, "teacher")
        net = assembly.teacher(context.cfg, task)
        steps = subnets.total_steps(task, recipe)
        with listening(context, "teacher", "Teacher", steps, path.parent) as listener:
            state = path.parent / "state.safetensors"
            cost = subnets.fit_net(context, net, task, recipe, "teacher", state, listener, {})
            metrics = subnets.holdout(context, net, task)
            listener.measured(metrics)
        weights.save(path, net.state_dict(), {"steps": cost.steps})
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
