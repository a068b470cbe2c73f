"""Training of a supernet along a curriculum, for the stages supernet and pretrain."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from evonas import files, weights
from evonas.config import to_plain
from evonas.data.loading.batches import calibration
from evonas.identifiers import identified
from evonas.metric import reading
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.randomness import derive
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.training.logging import TrainingLogger, training_logger
from evonas.stages.training.setup import TrainingSetup
from evonas.stages.training.sorting import sort_before_step, sort_by_losses
from evonas.supernets.cost_table import CostTable
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import extract
from evonas.train import validation_panel
from evonas.train.best_checkpoint import BestCheckpoint, Rows, best_epoch
from evonas.train.curriculum import Curriculum
from evonas.train.distillation.inplace import FullNetwork
from evonas.train.fit import check_identity, fit
from evonas.train.loop.checkpoint_io import remove
from evonas.train.module import SupernetModule
from evonas.train.recipe import decisive_settings, is_trained, optimizer_options, schedule
from evonas.train.sampling.step import CurriculumStep

log = logging.getLogger(__name__)
# a curriculum has lengths and warm-ups of its own
_LENGTH = ("epochs", "iterations", "warmup_epochs", "warmup_iterations")


class SupernetTrainer:
    """Trains a supernet along `sampler=`; every finished curriculum step is one durable file.

    A step passes on its best weights by the mean error of a panel of its own (`train.panel_every`), or its last.
    `panel.json` keeps the panel of the whole space after every step under `panel`, and what was measured within
    the step under `measured`.

    Args:
        context: config and run.
        stage: `supernet` or `pretrain`: the recipe of `train`, the folder of results, and the name of the random
            streams.
        start: weights to start from; None for those drawn from the seed.
    """

    def __init__(self, context: Context, stage: str, start: Path | None) -> None:
        cfg = context.cfg
        self.context, self.stage, self.start = context, stage, start
        self.training = TrainingSetup(context, stage)
        self.task, self.steps_per_epoch = self.training.task, self.training.steps_per_epoch
        self.net = factory.supernet(context.setup)
        self.curriculum: Curriculum = factory.curriculum(cfg, self.net.space)
        self.members = validation_panel.members(self.net.space, cfg.seed, cfg.train.panel_random)
        start_digest = weights.digest(start) if start else None
        self.origin = {"start": start_digest, **self.training.distillation_origin()}
        self.report: list[dict[str, Any]] = []

    @property
    def path(self) -> Path:
        """The weights that the curriculum ends with."""
        return self.context.run.path(f"{self.stage}/supernet.safetensors")

    def is_finished(self) -> bool:
        """Whether an earlier attempt, with these settings, left the weights; asked only to resume."""
        return self.context.run.resume and is_trained(self.path, self.identity())

    def identity(self) -> dict[str, Any]:
        """All that the weights depend on besides the run's own identity, as JSON gives it back."""
        return {"steps": [dict(self._identity(step)) for step in self.curriculum.steps]}

    def run(self) -> float:
        """Train the steps that are left; the mean error of the panel at the end."""
        if self.start:
            factory.load_into(self.net, self.start)
        # refuse what a later step cannot do before the first one is trained
        self.curriculum.check_draws(self._costs)
        for name in self.curriculum.without_largest():
            log.warning(
                "In curriculum step '%s' others learn from a random subnet. "
                "For the largest write always: [largest] in sampler.steps.",
                name,
            )
        rows: Rows = []
        total = self.curriculum.optimizer_steps(self.steps_per_epoch)
        with training_logger(self.context, self.stage, self.stage.title(), total, self.path.parent) as logger:
            for index, step in enumerate(self.curriculum.steps):
                done = self._restore(index, step) or self._train(index, step, logger)
                rows = done["panel"]
                logger.finish_training(step.optimizer_steps(self.steps_per_epoch))
                self._write_panel(step, done)
                read = [reading(self.task.error_name, row["metrics"]) for row in rows]
                named = zip(rows, read, strict=True)
                shown = ", ".join(f"{row['name']} {value:.4f}" for row, (_, value) in named)
                logger.progress.note(f"{step.name}: validation {read[0][0].name} {shown}")
            error = validation_panel.mean_error(rows, self.task)
            weights.save(
                self.path, self.net.state_dict(), {"panel_error": error, "identity": self.identity()}
            )
            if self.stage == "supernet":
                logger.tracker.artifact("checkpoint", [self.path])
        for index, step in enumerate(self.curriculum.steps):
            remove(self._file(index, step))
        return error

    def panel_mean(self) -> str:
        """The mean metric of the panel after the last step, in words."""
        read = [reading(self.task.error_name, row["metrics"]) for row in self.report[-1]["panel"]]
        mean = sum(value for _, value in read) / len(read)
        return f"mean validation {read[0][0].name} of the panel {mean:.4f}"

    def _restore(self, index: int, step: CurriculumStep) -> dict[str, Any] | None:
        """Weights and panel of a step that an earlier attempt finished; without `resume` they are removed."""
        path = self._file(index, step)
        if not path.exists():
            return None
        if not self.context.run.resume:
            remove(path)
            return None
        check_identity(path, self._identity(step))
        factory.load_into(self.net, path)
        self._remove_temporary(index, step)
        meta = weights.load_meta(path)
        return {key: meta[key] for key in ("panel", "measured")}

    def _train(self, index: int, step: CurriculumStep, logger: TrainingLogger) -> dict[str, Any]:
        """Train one step, with a fresh optimizer and projectors, and measure the panel."""
        if not self._trains_largest_alone and index == min(1, len(self.curriculum.steps) - 1):
            # before the second step, or before the only one
            sort_by_losses(self.net, self.task, self.training.recipe.batch_size)
        sort_before_step(self.net, [each.opened for each in self.curriculum.steps[:index]], step.opened)
        measured = self._fit(index, step, logger)
        if self._trains_largest_alone:
            sort_by_losses(self.net, self.task, self.training.recipe.batch_size, is_final=True)
        rows = self._measure(self.members, self.training.devices.torch_device)
        error = self.task.error_name
        read = [(row["name"], *reading(error, row["metrics"])) for row in rows]
        errors = {f"panel/{row['name']}": row["metrics"][error] for row in rows}
        metrics = {f"panel_{metric.name}/{name}": value for name, metric, value in read}
        logger.log_metrics({**errors, **metrics})
        done = {"panel": rows, "measured": measured}
        weights.save(
            self._file(index, step), self.net.state_dict(), {"identity": self._identity(step), **done}
        )
        self._remove_temporary(index, step)
        return done

    def _fit(self, index: int, step: CurriculumStep, logger: TrainingLogger) -> Rows:
        """Train, and load the weights that are passed on; the measurements within the step."""
        steps, identity = step.optimizer_steps(self.steps_per_epoch), self._identity(step)
        state = self.training.checkpoints(self._file(index, step, "state"), identity)
        checkpoint = self._best_checkpoint(index, step, identity)
        data = self.training.data(f"{self.stage}/{step.name}", steps)
        epochs = -(-steps // self.steps_per_epoch)
        callbacks = [] if checkpoint is None else [checkpoint]
        fit(self._module(index, step), data, epochs, self.training.devices, state, logger, callbacks)
        best = self._file(index, step, "best")
        if checkpoint is None or not steps:
            return []
        if self.curriculum.continue_from == "best":
            factory.load_into(self.net, best)
        return list(weights.load_meta(best)["measured"])

    def _module(self, index: int, step: CurriculumStep) -> SupernetModule:
        recipe, purpose = replace(self.training.recipe, **step.rates), f"{self.stage}/{step.name}"
        rates = schedule(recipe, step.length, self.steps_per_epoch, step.milestones or None)
        merge = self.curriculum.merge
        return SupernetModule(
            self.net,
            self.curriculum.training_sampler(step, self._costs, rates.total_steps),
            self.task,
            rates,
            derive(self.context.cfg.seed, purpose),
            self.curriculum.inplace_distillation,
            merge,
            self._initial_network(index, step) or self._full_network(index),
            None if merge is None else self._costs(),
            "sum" if self.curriculum.reduction == "sum" else "mean",
            **optimizer_options(recipe),
            **self.training.distillation(self.net.levels, purpose),
        )

    @property
    def _trains_largest_alone(self) -> bool:
        """Whether the only step trains the largest subnet and no other; its channels are sorted afterwards."""
        samplers = [self.curriculum.sampler(step) for step in self.curriculum.steps]
        return len(samplers) == 1 and samplers[0].trained_alone == self.net.space.largest()

    def _costs(self) -> CostTable:
        return factory.costs(self.context.setup)

    def _initial_network(self, index: int, step: CurriculumStep) -> StaticNet | None:
        """The largest open subnet as the step before has left it, if in-place distillation learns from it.

        It is calibrated, because the statistics that all subnets share fit none of them.
        """
        distillation = self.curriculum.inplace_distillation
        if index == 0 or distillation is None or not distillation.needs_initial_network:
            return None
        device = self.training.devices.torch_device
        net = extract(self.net, self.curriculum.sampler(step).corner("largest")).to(device)
        if images := [image.to(device) for image in self._calibration_images]:
            calibrate_batch_norm(net, images)
        return net

    def _full_network(self, index: int) -> FullNetwork | None:
        """The largest subnet as the first step has left it, if in-place distillation learns from it."""
        distillation = self.curriculum.inplace_distillation
        if index == 0 or distillation is None or not distillation.needs_full_network:
            return None
        full = factory.supernet(self.context.setup)
        factory.load_into(full, self._file(0, self.curriculum.steps[0]))
        return FullNetwork(full, self.curriculum.shared)

    def _best_checkpoint(
        self, index: int, step: CurriculumStep, identity: Mapping[str, Any]
    ) -> BestCheckpoint | None:
        """Measures a panel within the step; None with `train.panel_every=0`."""
        train = self.context.cfg.train
        if not train.panel_every:
            return None
        members = validation_panel.members_within(self.curriculum.sampler(step), train.panel_random)
        return BestCheckpoint(
            lambda device: self._measure(members, device),
            lambda rows: validation_panel.mean_error(rows, self.task),
            train.panel_every,
            self._file(index, step, "best"),
            identity,
        )

    def _measure(self, members: Sequence[validation_panel.Member], device: torch.device) -> Rows:
        return validation_panel.measure(
            self.net, members, self.task, self.training.batch_size, device, self._calibration_images
        )

    @cached_property
    def _calibration_images(self) -> list[torch.Tensor]:
        number = self.context.cfg.train.bn_calibration_images
        return calibration(self.task.dataset("train"), number, self.training.batch_size)

    def _identity(self, step: CurriculumStep) -> Mapping[str, Any]:
        """What the weights after a step depend on, besides those before it."""
        cfg = self.context.cfg
        recipe = {
            key: value for key, value in decisive_settings(self.training.recipe).items() if key not in _LENGTH
        }
        panel = {key: cfg.train[key] for key in ("panel_every", "panel_random")}
        panel["recalibrate"] = cfg.train.bn_calibration_images
        strategies = {
            name: to_plain(cfg.sampler[key])
            for name, key in (
                ("draw", "strategy"),
                ("lesson", "inplace_distillation"),
                ("merge", "merge"),
                ("shared", "shared"),
                ("reduction", "reduction"),
            )
            if cfg.sampler.get(key) is not None
        }
        chain = {"chain": self.curriculum.continue_from}
        return dict(identified({**recipe, **step.plain(), **chain, **panel, **self.origin, **strategies}))

    def _file(self, index: int, step: CurriculumStep, kind: str = "") -> Path:
        name = f"{index}-{step.name}.{kind}".rstrip(".")
        return self.context.run.path(f"{self.stage}/curriculum/{name}.safetensors")

    def _remove_temporary(self, index: int, step: CurriculumStep) -> None:
        """Remove the files that only an unfinished step needs."""
        for kind in ("state", "best"):
            remove(self._file(index, step, kind))

    def _write_panel(self, step: CurriculumStep, done: Mapping[str, Any]) -> None:
        is_best = done["measured"] and self.curriculum.continue_from == "best"
        chosen = best_epoch(done["measured"]) if is_best else None
        self.report.append({"name": step.name, **done, "best_epoch": chosen})
        content = {"error_name": self.task.error_name, "steps": self.report}
        files.write_json(self.path.with_name("panel.json"), content)
