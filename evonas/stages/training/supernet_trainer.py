"""The walk along a curriculum: how supernet and pretrain learn their weights, step after step."""

import logging
from collections.abc import Mapping, Sequence
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
from evonas.schema import Recipe
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.training import subnet_trainer
from evonas.stages.training.logging import Listening, listening
from evonas.supernets.cost_table import CostTable
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import extract
from evonas.train import validation_panel
from evonas.train.best_checkpoint import BestCheckpoint, Rows, best_epoch
from evonas.train.curriculum import Curriculum
from evonas.train.fit import Resumable, check_identity, fit
from evonas.train.loop.checkpoint_io import remove
from evonas.train.loop.data import TrainingData
from evonas.train.module import SupernetModule
from evonas.train.sampling.step import CurriculumStep

log = logging.getLogger(__name__)


class Walk:
    """Trains a supernet along `sampler=`; every finished step is one durable file.

    A step hands on its best weights by the mean error of a panel of its own (`train.panel_every`),
    or its last. `validation_panel.json` keeps the panel of the whole space after every step under `panel`,
    and what was measured within the step under `measured`.

    Args:
        context: config and run.
        folder: `supernet` or `pretrain`: where results go, and the name of the random streams.
        recipe: which recipe of `train` is followed.
        start: weights to start from; None for those drawn from the seed.
    """

    def __init__(self, context: Context, folder: str, recipe: str, start: Path | None) -> None:
        cfg = context.cfg
        self.context, self.folder, self.start = context, folder, start
        self.task, self.recipe = context.setup.task, factory.recipe(cfg, recipe)
        self.net = factory.supernet(context.setup)
        self.curriculum: Curriculum = factory.curriculum(cfg, self.net.space)
        self.members = validation_panel.members(self.net.space, cfg.seed, cfg.train.panel_random)
        self.devices = factory.devices(cfg)
        self.teaching = factory.Teaching(context)
        self.steps_per_epoch = subnet_trainer.steps_per_epoch(self.task, self.recipe)
        start_digest = weights.digest(start) if start else None
        self.origin = {"start": start_digest, **factory.origin(context)}
        self.report: list[dict[str, Any]] = []
        self._images: list[torch.Tensor] | None = None

    @cached_property
    def batch_size(self) -> int:
        """Of the panel's images."""
        return eval_batch_size(self.context.setup)

    @property
    def path(self) -> Path:
        """The weights that the walk ends with."""
        return self.context.run.path(f"{self.folder}/supernet.safetensors")

    def is_finished(self) -> bool:
        """Whether an earlier attempt, with these settings, left the weights; asked only to resume."""
        return self.context.run.resume and subnet_trainer.is_made(self.path, self.identity())

    def identity(self) -> dict[str, Any]:
        """All that the weights depend on besides the run's own identity, as JSON gives it back."""
        return {"steps": [dict(self._identity(step)) for step in self.curriculum.steps]}

    def run(self) -> float:
        """Train what is left to train; the mean error of the panel at the end."""
        if self.start:
            factory.load_into(self.net, self.start)
        total = self.curriculum.optimizer_steps(self.steps_per_epoch)
        title, folder = self.folder.title(), self.path.parent
        self._check()
        rows: Rows = []
        with listening(self.context, self.folder, title, total, folder) as listener:
            for index, step in enumerate(self.curriculum.steps):
                done = self._reuse(index, step) or self._train(index, step, listener)
                rows = done["panel"]
                listener.next_training(step.optimizer_steps(self.steps_per_epoch))
                self._write_panel(step, done)
                listener.progress.note(self._line(step, rows))
        return self._finish(rows)

    def _check(self) -> None:
        """What a later step cannot do is said before the first one is trained."""
        self.curriculum.check_draws(self._costs)
        for name in self.curriculum.without_largest():
            log.warning(
                "In curriculum step '%s' others learn from a random subnet. "
                "For the largest write always: [largest] in sampler.steps.",
                name,
            )

    def _finish(self, rows: Rows) -> float:
        """Keep the weights, then remove the files of the curriculum."""
        error = validation_panel.mean_error(rows, self.task)
        meta = {"panel_error": error, "identity": self.identity()}
        weights.save(self.path, self.net.state_dict(), meta)
        for index, step in enumerate(self.curriculum.steps):
            remove(self._file(index, step))
        return error

    def _reuse(self, index: int, step: CurriculumStep) -> dict[str, Any] | None:
        """What an earlier attempt measured of a step that it finished; without `resume` it is removed."""
        path = self._file(index, step)
        if not path.exists():
            return None
        if not self.context.run.resume:
            remove(path)
            return None
        check_identity(path, self._identity(step))
        factory.load_into(self.net, path)
        self._sweep(index, step)
        meta = weights.load_meta(path)
        return {key: meta[key] for key in ("panel", "measured")}

    def _train(self, index: int, step: CurriculumStep, listener: Listening) -> dict[str, Any]:
        """One step of the curriculum: optimizer and projectors start afresh."""
        measured = self._fit(index, step, listener)
        rows = self._measure(self.members, self.devices.torch_device)
        error = self.task.error_name
        listener.measured({f"panel/{row['name']}": row["metrics"][error] for row in rows})
        read = [(row["name"], *reading(error, row["metrics"])) for row in rows]
        listener.measured({f"panel_{metric.name}/{name}": value for name, metric, value in read})
        done = {"panel": rows, "measured": measured}
        weights.save(
            self._file(index, step), self.net.state_dict(), {"identity": self._identity(step), **done}
        )
        self._sweep(index, step)
        return done

    def _fit(self, index: int, step: CurriculumStep, listener: Listening) -> Rows:
        """Train, and load the weights that are handed on; what was measured on the way."""
        steps, identity = step.optimizer_steps(self.steps_per_epoch), self._identity(step)
        state = Resumable(
            self._file(index, step, "state"),
            identity,
            self.context.run.resume,
            self.recipe.checkpoint_steps,
            keep=True,
        )
        chain = self._chain(index, step, identity)
        module, data = self._module(index, step), self._data(step)
        epochs = -(-steps // self.steps_per_epoch)
        fit(module, data, epochs, self.devices, state, listener, [chain] if chain else [])
        best = self._file(index, step, "best")
        if chain is None or not steps:
            return []
        if self.curriculum.chain == "best":
            factory.load_into(self.net, best)
        return list(weights.load_meta(best)["measured"])

    def _module(self, index: int, step: CurriculumStep) -> SupernetModule:
        cfg, purpose = self.context.cfg, f"{self.folder}/{step.name}"
        rates = factory.rates(self.recipe, step.length, self.steps_per_epoch, step.milestones or None)
        merge = self.curriculum.merge
        return SupernetModule(
            self.net,
            self.curriculum.training_sampler(step, self._costs, rates.total_steps),
            self.task,
            rates,
            derive(cfg.seed, purpose),
            self.curriculum.inplace_distillation,
            merge,
            self._kept(index, step),
            None if merge is None else self._costs(),
            **factory.optimisation(self.recipe),
            **self.teaching.options(self.net.levels, purpose),
        )

    def _costs(self) -> CostTable:
        return factory.costs(self.context.setup)

    def _kept(self, index: int, step: CurriculumStep) -> StaticNet | None:
        """The largest open subnet as the step before has left it, where the lesson wants it.

        It teaches with statistics of its own: those that all subnets share fit none.
        """
        lesson = self.curriculum.inplace_distillation
        if index == 0 or lesson is None or not lesson.needs_initial_network:
            return None
        device = self.devices.torch_device
        kept = extract(self.net, self.curriculum.sampler(step).corner("largest")).to(device)
        if images := [image.to(device) for image in self._calibration()]:
            calibrate_batch_norm(kept, images)
        return kept

    def _data(self, step: CurriculumStep) -> TrainingData:
        seed = derive(self.context.cfg.seed, f"{self.folder}/{step.name}")
        steps = step.optimizer_steps(self.steps_per_epoch)
        return factory.training_data(self.context.cfg, self.task, self.recipe, seed, steps)

    def _chain(self, index: int, step: CurriculumStep, identity: Mapping[str, Any]) -> BestCheckpoint | None:
        """Measures within the step, if that is wanted."""
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
            self.net, members, self.task, self.batch_size, device, self._calibration()
        )

    def _calibration(self) -> list[torch.Tensor]:
        if self._images is None:
            number = self.context.cfg.train.recalibrate
            self._images = calibration(self.task.dataset("train"), number, self.batch_size)
        return self._images

    def _identity(self, step: CurriculumStep) -> Mapping[str, Any]:
        keys = ("panel_every", "panel_random", "recalibrate")
        watched = {key: self.context.cfg.train[key] for key in keys}
        plain = {**_plain_recipe(self.recipe), **step.plain()}
        learnt = {**self.origin, **self._strategy()}
        return dict(identified({**plain, "chain": self.curriculum.chain, **watched, **learnt}))

    def _strategy(self) -> dict[str, Any]:
        """What besides the steps decides how weights are learnt; nothing for a plain curriculum."""
        sampler = self.context.cfg.sampler
        keys = ("draw", "lesson", "merge")
        return {key: to_plain(sampler[key]) for key in keys if sampler.get(key) is not None}

    def _file(self, index: int, step: CurriculumStep, kind: str = "") -> Path:
        name = f"{index}-{step.name}.{kind}".rstrip(".")
        return self.context.run.path(f"{self.folder}/curriculum/{name}.safetensors")

    def _sweep(self, index: int, step: CurriculumStep) -> None:
        """Remove what a finished step needs no more."""
        for kind in ("state", "best"):
            remove(self._file(index, step, kind))

    def _write_panel(self, step: CurriculumStep, done: Mapping[str, Any]) -> None:
        chosen = (
            best_epoch(done["measured"]) if done["measured"] and self.curriculum.chain == "best" else None
        )
        self.report.append({"name": step.name, **done, "best_epoch": chosen})
        content = {"error_name": self.task.error_name, "steps": self.report}
        files.write_json(self.path.with_name("panel.json"), content)

    def _line(self, step: CurriculumStep, rows: Rows) -> str:
        read = [reading(self.task.error_name, row["metrics"]) for row in rows]
        shown = ", ".join(f"{row['name']} {value:.4f}" for row, (_, value) in zip(rows, read, strict=True))
        return f"{step.name}: validation {read[0][0].name} {shown}"

    def panel_mean(self) -> str:
        """The mean metric of the panel after the last step, in words."""
        read = [reading(self.task.error_name, row["metrics"]) for row in self.report[-1]["panel"]]
        mean = sum(value for _, value in read) / len(read)
        return f"mean validation {read[0][0].name} of the panel {mean:.4f}"


def _plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe without its length, which the curriculum has, and without what changes no weight."""
    unused = ("epochs", "iterations", "warmup_epochs", "warmup_iterations")
    return {key: value for key, value in subnet_trainer.decisive(recipe).items() if key not in unused}
