"""Objective `error_int8`: the task's error of subnets as a runtime computes them in int8.

Subnets that quantise badly, with few wide channels among narrow ones, look as good as others in float. Here each subnet
is extracted, quantised with images of the training split, and run in the runtime on the validation images of `error`.
What is measured is what a device computes, and no simulation in float.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.objectives.accumulator import MetricAccumulator
from evonas.objectives.context import EvaluationContext
from evonas.runtimes.base import Runtime, Settings
from evonas.runtimes.choice import Auto, named, resolved
from evonas.runtimes.network import RuntimeNetwork
from evonas.runtimes.quantisation import check_kept
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import extract
from evonas.tasks.base import predict

VERSION = 1

Result = tuple[float, Mapping[str, Any]]


class ErrorInt8:
    """`metrics[task.error_name]` of the quantised subnet on the validation split, on the CPU.

    A search may have it beside `error` or in its place: both use the same images, weights and BN calibration. Its
    metrics are stored as `metrics_int8`. It is always of the whole split, or of `images` images of it, also in a race,
    whose rungs are those of `error`.

    Args:
        runtime: what runs the network, of the config group `runtime`, or its name; its precision, threads and batch do
            not count here.
        images: number of validation images, the first in `loading.batches.order`; None for all of them.
        bn_calibration_images: number of training images for BN calibration of each subnet; 0 for the supernet's
            statistics.

    Raises:
        UserError: a number is too small, or the runtime is unknown.
    """

    name = "error_int8"
    unit = ""
    part: Part = "shared"

    def __init__(
        self,
        runtime: Settings | str | None = None,
        images: int | None = None,
        bn_calibration_images: int = 0,
    ) -> None:
        if images is not None and images < 1:
            raise UserError(
                f"objective.error_int8.images must be at least 1, got {images}.", "Use null for all images."
            )
        if bn_calibration_images < 0:
            raise UserError(
                f"objective.error_int8.bn_calibration_images must not be negative, got {bn_calibration_images}.",
                "Use 0 for none.",
            )
        settings = named(runtime) if isinstance(runtime, str) else runtime or Auto()
        # workers share the cores, and images are independent
        self.settings = replace(settings, precision="int8", threads=1, batch=1)
        self.images, self.bn_calibration_images = images, bn_calibration_images

    def prepare(self, context: EvaluationContext) -> None:
        """Loads the supernet, and decodes the validation split and the calibration images.

        Raises:
            UserError: the runtime is not available or does not quantise, or no network has a layer of
                `runtime.int8.keep_float`.
        """
        self._context, self._runtime = context, self._runtime_here()
        if self.settings.int8.keep_float:
            check_kept(self.settings.int8.keep_float, context.layer_names)
        # batches of the number that `error` has as well
        numbers = self.settings.int8.images, self.bn_calibration_images
        self._calibration, self._bn_calibration = (
            [images.cpu() for images in context.calibration(number)] for number in numbers
        )
        batches = context.batches if self.images is None else context.some(self.images)
        self._batches = [{key: value.cpu() for key, value in batch.items()} for batch in batches]
        _ = context.supernet

    def measure(self, genotype: Genotype) -> Result:
        """The error; all metrics of the task, and the size of the quantised model in MB.

        Raises:
            InfeasibleError: the error or an output is not finite.
            UserError: the network cannot be quantised.
        """
        net = extract(self._context.supernet, genotype).eval()
        if self._bn_calibration:
            calibrate_batch_norm(net, self._bn_calibration)
        task, found = self._context.task, RuntimeNetwork(net, self._runtime, self._calibration)
        accumulator = MetricAccumulator(task)
        with closing(found), torch.inference_mode():
            for batch in self._batches:
                accumulator.add(predict(task, found, batch["image"]), batch)
            size = found.size
        value, facts = accumulator.result()
        megabytes = {} if size is None else {"mb": round(size / 1e6, 4)}
        about = {"computed_by": [self._runtime.name, self._runtime.version()], **megabytes}
        return value, {"metrics_int8": facts["metrics"], "int8": about}

    def measure_together(
        self, genotypes: Sequence[Genotype], images: int | None = None
    ) -> list[Result | Exception]:
        """For each genotype the result of `measure`, or the exception it raises.

        Args:
            genotypes: in any order, possibly repeated.
            images: of a race, which compares other objectives than `error` exactly; ignored.
        """
        del images
        found = dict[Genotype, Result | Exception]()
        for genotype in dict.fromkeys(genotypes):
            try:
                found[genotype] = self.measure(genotype)
            except Exception as error:
                found[genotype] = error
        return [found[genotype] for genotype in genotypes]

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Weights, data, metric, runtime, how networks are quantised and with which images."""
        runtime = self._runtime_here()
        limited = {} if self.images is None else {"images": self.images}
        return {
            **({"bn_calibration_images": self.bn_calibration_images} if self.bn_calibration_images else {}),
            **limited,
            "version": VERSION,
            "metric": context.task.error_name,
            "scoring": context.scoring_config,
            "weights": context.weights_digest,
            "data": context.data_manifest,
            "training_data": context.calibration_manifest,
            "batch_size": context.batch_size,
            "runtime": [runtime.name, runtime.version()],
            **runtime.identity(),
            "int8": self.settings.int8.identity(),
        }

    def _runtime_here(self) -> Runtime:
        return resolved(self.settings, torch.device("cpu"))
