"""stage=teacher: train a teacher, or check one with foreign weights."""

import time
from typing import Any

from evonas import files, weights
from evonas.identifiers import identified
from evonas.metric import reading
from evonas.stages.base import Context
from evonas.stages.build import factory, teacher_checkpoint
from evonas.stages.training.logging import training_logger
from evonas.stages.training.setup import Fitted, TrainingSetup
from evonas.train.loop.checkpoint_io import remove
from evonas.train.recipe import is_trained, training_identity
from evonas.train.teachers.base import Origin, StartsFromFile

RANDOM = "RANDOM weights, nobody trained them, its numbers mean nothing. "


class Teacher:
    """Trains the trainable weights of the network of `teacher=`; foreign weights are loaded, scored and recorded."""

    needs_task = True

    def run(self, context: Context) -> str:
        """Write teacher/result.json, and teacher/teacher.safetensors where something was trained."""
        if not context.cfg.distill:
            return "Without distillation there is no teacher to train."
        net = factory.teacher(context.setup)
        training = TrainingSetup(context, "teacher")
        line = _train(training, net) if net.state_dict() else _check(training, net)
        is_random = net.origin is not None and net.origin.is_random
        return f"{RANDOM if is_random else ''}{line}"


def _train(training: TrainingSetup, net: Any) -> str:
    cfg, run = training.cfg, training.run
    path, result = run.path(factory.TEACHER), run.path(teacher_checkpoint.RESULT)
    identity = training_identity(training.recipe, "teacher", network=teacher_checkpoint.network(cfg))
    if net.origin is not None:
        identity["origin"] = net.origin.sha256
    trained = getattr(net, "body", net)
    start = trained.load_start() if isinstance(trained, StartsFromFile) else None
    if start is not None:
        identity["start"] = start.sha256
        print(f"The teacher starts from {start.text()}.", flush=True)
    if run.resume and result.exists() and is_trained(path, identity):
        return f"The teacher is trained: {path}"
    steps, state = training.total_steps, path.with_name("state.safetensors")
    with training_logger(training.context, "teacher", "Teacher", steps, path.parent) as logger:
        fitted = training.fit(net, identity, state, logger, {})
        metrics = training.score(net)
        logger.log_metrics(metrics)
    weights.save(path, net.state_dict(), {"identity": identity})
    found = _result(training, net, fitted, metrics)
    if start is not None:
        found["start"] = {**Origin(start.file, start.sha256).facts(), "matched": start.text()}
    if net.origin is not None:
        found |= {**teacher_checkpoint.loaded(net, cfg), "loaded": False}
    files.write_json(result, found)
    remove(state)
    return f"Teacher, {_score(training, metrics)}: {path}"


def _check(training: TrainingSetup, net: Any) -> str:
    """Score a teacher without trainable weights, and record its origin."""
    run = training.run
    result, origin = run.path(teacher_checkpoint.RESULT), teacher_checkpoint.loaded(net, training.cfg)
    known = identified(files.read_json(result)) if run.resume and result.exists() else {}
    if all(known.get(key) == value for key, value in origin.items()):
        return f"The teacher is known: {result}"
    started, metrics = time.monotonic(), {}
    if net.has_output:
        with training_logger(training.context, "teacher", "Teacher", 1, result.parent) as logger:
            metrics = training.score(net)
            logger.log_metrics(metrics)
            logger.finish_training(1)
    fitted = Fitted(0, round(time.monotonic() - started, 2))
    files.write_json(result, _result(training, net, fitted, metrics) | origin)
    if not metrics:
        return f"Teacher of features alone, nothing to train: {result}"
    return f"Teacher, not trained here, {_score(training, metrics)}: {result}"


def _score(training: TrainingSetup, metrics: dict[str, float]) -> str:
    metric, value = reading(training.task.error_name, metrics)
    return f"validation {metric.name} {value:.4f}"


def _result(training: TrainingSetup, net: Any, fitted: Fitted, metrics: dict[str, float]) -> dict[str, Any]:
    described = training.cfg.teacher
    return {
        "name": str(described.get("name") or described.get("family") or "teacher"),
        "params": net.num_params,
        "steps": fitted.steps,
        "seconds": fitted.seconds,
        "metrics": metrics,
    }
