"""What the stages that train and score networks have in common."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from evonas import weights
from evonas.config import to_plain
from evonas.data.base import Split
from evonas.data.loading.batches import calibration
from evonas.errors import UserError
from evonas.nn.bn_calibration import BNCalibration
from evonas.randomness import derive
from evonas.stages.base import Context
from evonas.stages.build import factory, teacher_checkpoint
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.training.logging import TrainingLogger
from evonas.stages.training.recipe import read_recipe
from evonas.train import validation_panel
from evonas.train.fit import Resumable, fit
from evonas.train.loop.data import TrainingData, batches_per_epoch
from evonas.train.module import DistillationOptions, SubnetModule
from evonas.train.recipe import duration, mixing, optimizer_options, schedule
from evonas.train.teachers.feature_cache import IndexedImages


class EvaluationSetup:
    """How a stage scores networks: task, device, batch size and BN calibration.

    Args:
        context: config and run.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.cfg, self.run = context, context.cfg, context.run
        self.task = context.setup.task
        self.devices = factory.devices(context.cfg)

    @cached_property
    def batch_size(self) -> int:
        """Images at a time where networks are scored."""
        return eval_batch_size(self.context.setup)

    @cached_property
    def bn_calibration(self) -> BNCalibration | None:
        """Calibrates subnets as the search does, with statistics stored in statistics/.

        None with `train.bn_calibration_images=0`, and in a run without a supernet, whose networks start from other
        weights.
        """
        number, start = int(self.cfg.train.bn_calibration_images), self.run.find(factory.SUPERNET)
        if not number or start is None:
            return None
        images, size = self.task.dataset("train"), self.batch_size
        about: dict[str, str | int] = {
            "weights": weights.digest(start),
            "data": images.manifest(),
            "number": number,
            "batch": size,
        }
        batches = partial(calibration, images, number, size)
        return BNCalibration(batches, min(number, len(images)), self.run.path("statistics"), about)

    def score(self, net: nn.Module, split: Split = "holdout") -> dict[str, float]:
        """A network's metrics on a split; it is moved to the device and left in eval mode.

        Raises:
            EngineError: its error on the validation split is not finite. On the test split it is returned as it is,
                so that the other networks are tested.
        """
        device = self.devices.torch_device
        metrics = validation_panel.score(net.eval().to(device), self.task, split, self.batch_size, device)
        return validation_panel.finite(metrics, self.task, "a network") if split == "holdout" else metrics


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training took: optimizer steps, and seconds of this attempt."""

    steps: int
    seconds: float


class TrainingSetup(EvaluationSetup):
    """How a stage trains networks: the recipe with its data and schedule, and the teacher.

    Args:
        context: config and run.
        recipe: key of `train` whose recipe is followed.

    Raises:
        DataError: the data is not that which the run has read before.
        UserError: the recipe mixes images of a task that cannot mix them.
    """

    def __init__(self, context: Context, recipe: str) -> None:
        super().__init__(context)
        self.recipe = read_recipe(context.cfg, recipe)
        if mixing(self.recipe).is_on and not getattr(self.task, "mixes", False):
            raise UserError(
                f"train.{recipe}.mixup mixes images with one label, and those of task {self.task.name} have none.",
                f"Use train.{recipe}.mixup=0 train.{recipe}.cutmix=0.",
            )
        context.data.check("train", "holdout")

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the training split."""
        images = len(self.task.dataset("train"))
        return batches_per_epoch(images, self.recipe.batch_size, self.recipe.max_batches)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of one network under the recipe."""
        return duration(self.recipe).optimizer_steps(self.steps_per_epoch)

    def data(self, purpose: str, total_steps: int) -> TrainingData:
        """The training split in batches, in an order drawn from (seed, purpose), after a check of the data."""
        self.context.setup.check_data()
        dataset, recipe = self.task.dataset("train"), self.recipe
        if not recipe.augment:
            dataset = IndexedImages(dataset)
        seed, workers = derive(self.cfg.seed, purpose), self.devices.loader_workers
        return TrainingData(dataset, recipe.batch_size, seed, workers, recipe.max_batches, total_steps)

    def checkpoints(self, path: Path, identity: Mapping[str, Any]) -> Resumable:
        """Settings of a state file that the caller removes once the result is durable.

        Until then a training that ended is continued from its end.
        """
        return Resumable(path, identity, self.run.resume, self.recipe.checkpoint_steps, keep=True)

    def origin(self, start: Path) -> dict[str, Any]:
        """What the training of a subnet depends on besides recipe and genotype.

        Args:
            start: the weights that subnets inherit.
        """
        calibrated = {} if self.bn_calibration is None else {"recalibrate": self.bn_calibration.number}
        return {"supernet": weights.digest(start), **calibrated, **self.distillation_origin()}

    def distillation_origin(self) -> dict[str, Any]:
        """What a distilled training depends on besides its recipe, as plain data."""
        if not self.cfg.distill:
            return {"distill": None, "teacher": None}
        return {"distill": to_plain(self.cfg.distill), "teacher": teacher_checkpoint.digest(self.run)}

    def distillation(self, student: Any, purpose: str) -> DistillationOptions:
        """The keywords `teacher` and `distiller` of a Lightning module; empty without `distill`.

        The teacher is loaded once; projectors are initialised for every training.

        Args:
            student: levels of the trained network.

        Raises:
            UserError: outputs are distilled, but the teacher has features alone, or the task's are not comparable.
        """
        if not self.cfg.distill:
            return {}
        distiller = factory.distiller(self.cfg, student, self._teacher.levels, purpose)
        distiller.check(self.task)
        setting = distiller.needs_output()
        if setting is not None and not self._teacher.has_output:
            raise UserError(
                f"{setting} distills a teacher's output, but this teacher has features alone.",
                "Use teacher.head=true, or distill=caddkd with distill.ratio=0.",
            )
        if distiller.cache and mixing(self.recipe).is_on:
            raise UserError(
                "distill.cache keeps a teacher's outputs for images as they are, and train.*.mixup mixes them.",
                "Use distill.cache=false.",
            )
        return {"teacher": self._cached_teacher if distiller.cache else self._teacher, "distiller": distiller}

    @cached_property
    def _teacher(self) -> Any:
        return factory.load_teacher(self.context)

    @cached_property
    def _cached_teacher(self) -> Any:
        level = int(self.cfg.distill.get("level", -1))
        return teacher_checkpoint.cached(self.context, self._teacher, level)

    def fit(
        self,
        net: nn.Module,
        identity: Mapping[str, Any],
        state: Path,
        logger: TrainingLogger,
        distillation: DistillationOptions,
    ) -> Fitted:
        """Train one network in place by the recipe.

        Args:
            identity: see `training_identity`; its `purpose` names the random streams.
            state: see `checkpoints`.
            distillation: see `distillation`; empty for none.
        """
        data = self.data(identity["purpose"], self.total_steps)
        rates = schedule(self.recipe, duration(self.recipe), data.steps_per_epoch)
        seed = derive(self.cfg.seed, identity["purpose"])
        module = SubnetModule(net, self.task, rates, seed, **optimizer_options(self.recipe), **distillation)
        started = time.monotonic()
        epochs = -(-rates.total_steps // data.steps_per_epoch)
        fit(module, data, epochs, self.devices, self.checkpoints(state, identity), logger)
        logger.finish_training(rates.total_steps)
        return Fitted(rates.total_steps, round(time.monotonic() - started, 2))
