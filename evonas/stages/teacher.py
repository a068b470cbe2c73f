"""The stage that trains the teacher, or checks one that somebody else trained."""

import time
from typing import Any

from evonas import files, weights
from evonas.identifiers import identified
from evonas.metric import reading
from evonas.stages.base import Context
from evonas.stages.build import factory, teacher_checkpoint
from evonas.stages.training import subnet_trainer
from evonas.stages.training.logging import listening
from evonas.tasks.base import Task
from evonas.train.loop.checkpoint_io import remove

RANDOM = "RANDOM weights, nobody trained them, its numbers mean nothing. "


class Teacher:
    """Trains what is ours of the network of `teacher=`; foreign weights are loaded, scored and noted."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write teacher/result.json, and teacher/teacher.safetensors where something was trained."""
        if not context.cfg.distill:
            return "Without distillation there is no teacher to train."
        task = context.setup.task
        net = factory.teacher(context.setup)
        line = _train(context, net, task) if net.state_dict() else _check(context, net, task)
        is_random = net.origin is not None and net.origin.is_random
        return f"{RANDOM if is_random else ''}{line}"


def _train(context: Context, net: Any, task: Task) -> str:
    path, recipe = context.run.path(factory.TEACHER), factory.recipe(context.cfg, "teacher")
    result = context.run.path(teacher_checkpoint.RESULT)
    identity = subnet_trainer.identity(recipe, "teacher", network=teacher_checkpoint.network(context.cfg))
    if net.origin is not None:
        identity["origin"] = net.origin.sha256
    if context.run.resume and result.exists() and subnet_trainer.is_made(path, identity):
        return f"The teacher is trained: {path}"
    steps, state = subnet_trainer.total_steps(task, recipe), path.with_name("state.safetensors")
    with listening(context, "teacher", "Teacher", steps, path.parent) as listener:
        cost = subnet_trainer.fit_net(context, net, task, recipe, identity, state, listener, {})
        metrics = subnet_trainer.holdout(context, net, task)
        listener.measured(metrics)
    weights.save(path, net.state_dict(), {"identity": identity})
    found = _result(context, net, cost, metrics)
    if net.origin is not None:
        found |= {**teacher_checkpoint.loaded(net, context.cfg), "loaded": False}
    files.write_json(result, found)
    remove(state)
    return f"Teacher, {_score(task, metrics)}: {path}"


def _check(context: Context, net: Any, task: Task) -> str:
    """Score a teacher that has nothing to train, and note what it was."""
    result, origin = context.run.path(teacher_checkpoint.RESULT), teacher_checkpoint.loaded(net, context.cfg)
    known = identified(files.read_json(result)) if context.run.resume and result.exists() else {}
    if all(known.get(key) == value for key, value in origin.items()):
        return f"The teacher is known: {result}"
    started, metrics = time.monotonic(), {}
    if net.has_output:
        with listening(context, "teacher", "Teacher", 1, result.parent) as listener:
            metrics = subnet_trainer.holdout(context, net, task)
            listener.measured(metrics)
            listener.next_training(1)
    cost = subnet_trainer.Fitted(0, round(time.monotonic() - started, 2))
    files.write_json(result, _result(context, net, cost, metrics) | origin)
    if not metrics:
        return f"Teacher of features alone, nothing to train: {result}"
    return f"Teacher, not trained here, {_score(task, metrics)}: {result}"


def _score(task: Task, metrics: dict[str, float]) -> str:
    metric, value = reading(task.error_name, metrics)
    return f"validation {metric.name} {value:.4f}"


def _result(
    context: Context, net: Any, cost: subnet_trainer.Fitted, metrics: dict[str, float]
) -> dict[str, Any]:
    described = context.cfg.teacher
    return {
        "name": str(described.get("name") or described.get("family") or "teacher"),
        "params": net.num_params,
        "steps": cost.steps,
        "seconds": cost.seconds,
        "metrics": metrics,
    }
