"""Objective `error` after a short training of each subnet alone, as NSGANetV2 estimates accuracies.

Lu et al., "NSGANetV2" (arXiv 2007.10396), section 3.3, train every candidate for a few epochs from inherited weights
before it is measured: the estimate costs minutes in place of seconds, and ranks better.
"""

from collections.abc import Mapping
from typing import Any

import torch

from evonas.errors import EngineError, InfeasibleError, UserError
from evonas.evaluate.engine import Part
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.objectives.accumulator import MetricAccumulator
from evonas.objectives.context import EvaluationContext
from evonas.randomness import derive
from evonas.schema import Recipe
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import extract
from evonas.tasks.base import predict
from evonas.train.fit import Devices, fit
from evonas.train.loop.data import TrainingData, batches_per_epoch
from evonas.train.module import SubnetModule
from evonas.train.recipe import decisive_settings, duration, optimizer_options, schedule

VERSION = 1
_ACCELERATORS = {"cuda": "gpu"}


class FinetunedError:
    """`metrics[task.error_name]` on the validation split after a training of the extracted subnet.

    Every subnet starts from inherited weights, and its random numbers depend on the seed and its genotype alone, so
    the value depends neither on the worker nor on the order of measurements. No teacher takes part. A training that is
    interrupted starts anew.

    Args:
        recipe: keywords of `evonas.schema.Recipe`.
        seed: of the order of images, their augmentation and stochastic depth.
        bn_calibration_images: number of training images for BN calibration before the training; 0 for none.

    Raises:
        UserError: the recipe has no steps.
    """

    name = "error"
    unit = ""
    part: Part = "shared"

    def __init__(self, recipe: Mapping[str, Any], seed: int, bn_calibration_images: int = 0) -> None:
        self.recipe, self.seed = Recipe(**recipe), seed
        self.bn_calibration_images = bn_calibration_images
        if not (self.recipe.epochs or self.recipe.iterations):
            raise UserError(
                "train.finetune has no steps, so the error would be that of inherited weights.",
                "Try train.finetune.epochs=5, or fidelity=full.",
            )

    def prepare(self, context: EvaluationContext) -> None:
        """Loads the supernet, decodes the validation split and opens the training split."""
        self._context = context
        _ = context.supernet, context.batches, context.calibration(self.bn_calibration_images)
        self._images = context.task.dataset("train")

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The error after the training; all metrics of the task, and the optimizer steps as `trained_steps`.

        Raises:
            InfeasibleError: the loss or the error is not finite.
        """
        context, recipe = self._context, self.recipe
        purpose = f"finetune/{context.space.format(genotype)}"
        seed = derive(self.seed, purpose)
        net = extract(context.supernet, genotype).to(context.device)
        if self.bn_calibration_images:
            calibrate_batch_norm(net, context.calibration(self.bn_calibration_images))
        length = duration(recipe)
        steps = length.optimizer_steps(
            batches_per_epoch(len(self._images), recipe.batch_size, recipe.max_batches)
        )
        data = TrainingData(self._images, recipe.batch_size, seed, 0, recipe.max_batches, steps)
        rates = schedule(recipe, length, data.steps_per_epoch)
        module = SubnetModule(
            net.requires_grad_(True), context.task, rates, seed, **optimizer_options(recipe)
        )
        kind = context.device.type
        devices = Devices(accelerator=_ACCELERATORS.get(kind, kind), precision=context.precision)
        try:
            fit(module, data, -(-steps // data.steps_per_epoch), devices)
        except EngineError as error:
            # the loss is not finite
            raise InfeasibleError(error.message) from error
        net.eval().to(context.device)
        accumulator = MetricAccumulator(context.task)
        with torch.inference_mode(), context.autocast():
            for batch in context.batches:
                accumulator.add(predict(context.task, net, batch["image"]), batch)
        value, facts = accumulator.result()
        return value, {**facts, "trained_steps": steps}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Weights, data, recipe, metric and numerical settings."""
        return {
            **context.kernels,
            "version": VERSION,
            "metric": context.task.error_name,
            "scoring": context.scoring_config,
            "weights": context.weights_digest,
            "data": context.data_manifest,
            "training_data": context.calibration_manifest,
            "recipe": decisive_settings(self.recipe),
            "seed": self.seed,
            "bn_calibration_images": self.bn_calibration_images,
            "batch_size": context.batch_size,
            "precision": context.precision,
            "device": context.device.type,
        }
