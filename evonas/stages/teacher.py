"""The stage that trains the teacher, or checks one that somebody else trained."""

import time
from typing import Any

from evonas import files, weights
from evonas.identifiers import identified
from evonas.stages import assembly, subnets, taught
from evonas.stages.base import Context
from evonas.stages.listening import listening
from evonas.tasks.base import Task
from evonas.train.checkpoint import remove

RANDOM = "RANDOM weights, nobody trained them, its numbers mean nothing. "


class Teacher:
    """Trains what is ours of the network of `teacher=`; foreign weights are loaded, scored and noted."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write teacher/result.json, and teacher/teacher.safetensors where something was trained."""
        if not context.cfg.distill:
            return "Without distillation there is no teacher to train."
        task = assembly.task(context.cfg)
        net = assembly.teacher(context.cfg, task)
        line = _train(context, net, task) if net.state_dict() else _check(context, net, task)
        is_random = net.origin is not None and net.origin.is_random
        return f"{RANDOM if is_random else ''}{line}"


def _train(context: Context, net: Any, task: Task) -> str:
    """Fit the weights that are ours."""
    path, recipe = context.run.path(assembly.TEACHER), assembly.recipe(context.cfg, "teacher")
    result = context.run.path(taught.RESULT)
    identity = subnets.identity(recipe, "teacher", network=taught.network(context.cfg))
    if net.origin is not None:
        identity["origin"] = net.origin.sha256
    if context.run.resume and result.exists() and subnets.is_made(path, identity):
        return f"The teacher is trained: {path}"
    steps, state = subnets.total_steps(task, recipe), path.with_name("state.safetensors")
    with listening(context, "teacher", "Teacher", steps, path.parent) as listener:
        cost = subnets.fit_net(context, net, task, recipe, identity, state, listener, {})
        metrics = subnets.holdout(context, net, task)
        listener.measured(metrics)
    weights.save(path, net.state_dict(), {"identity": identity})
    found = _result(context, net, cost, metrics)
    if net.origin is not None:
        found |= {**taught.loaded(net, context.cfg), "loaded": False}
    files.write_json(result, found)
    remove(state)
    return f"Teacher, holdout {task.error_name} {metrics[task.error_name]:.4f}: {path}"


def _check(context: Context, net: Any, task: Task) -> str:
    """Score a teacher that has nothing to train, and note what it was."""
    result, origin = context.run.path(taught.RESULT), taught.loaded(net, context.cfg)
    known = identified(files.read_json(result)) if context.run.resume and result.exists() else {}
    if all(known.get(key) == value for key, value in origin.items()):
        return f"The teacher is known: {result}"
    started, metrics = time.monotonic(), {}
    if net.has_output:
        with listening(context, "teacher", "Teacher", 1, result.parent) as listener:
            metrics = subnets.holdout(context, net, task)
            listener.measured(metrics)
            listener.next_training(1)
    cost = subnets.Fitted(0, round(time.monotonic() - started, 2))
    files.write_json(result, _result(context, net, cost, metrics) | origin)
    if not metrics:
        return f"Teacher of features alone, nothing to train: {result}"
    return f"Teacher, not trained here, holdout {task.error_name} {metrics[task.error_name]:.4f}: {result}"


def _result(context: Context, net: Any, cost: subnets.Fitted, metrics: dict[str, float]) -> dict[str, Any]:
    described = context.cfg.teacher
    return {
        "name": str(described.get("name") or described.get("family") or "teacher"),
        "params": net.num_params,
        "steps": cost.steps,
        "seconds": cost.seconds,
        "metrics": metrics,
    }
