"""Objective `error`: the task's error of subnets with inherited weights on the validation split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.objectives.accumulator import MetricAccumulator
from evonas.objectives.context import EvaluationContext
from evonas.space.genotype import Genotype
from evonas.supernets.prefix import PrefixExecutor
from evonas.supernets.prefix_statistics import PrefixStatistics
from evonas.tasks.base import predict

VERSION = 2
# number of subnets whose BN statistics are cached, a few kilobytes each
REMEMBERED = 512

Result = tuple[float, Mapping[str, Any]]
Net = Callable[[Tensor], Tensor]
Forward = Callable[[Net], Tensor]


class Error:
    """`metrics[task.error_name]` on the validation split, or on its first images.

    Subnets that are measured together share one pass over the data: all of them process a batch before the next, and
    activations of shared prefixes are computed once (`supernets/prefix.py`).

    Args:
        bn_calibration_images: number of training images for BN calibration of each subnet; 0 uses the supernet's
            running statistics, a mixture over subnets.

    Raises:
        UserError: bn_calibration_images is negative.
    """

    name = "error"
    unit = ""
    part: Part = "shared"

    def __init__(self, bn_calibration_images: int = 0) -> None:
        if bn_calibration_images < 0:
            raise UserError(
                f"objective.error.bn_calibration_images must not be negative, got {bn_calibration_images}.",
                "Use 0 for none.",
            )
        self.bn_calibration_images = bn_calibration_images

    def prepare(self, context: EvaluationContext) -> None:
        """Loads the supernet and decodes the validation split."""
        self._context, self._statistics, self._known = context, PrefixStatistics(), set[Genotype]()
        _ = context.network, context.batches, context.calibration(self.bn_calibration_images)

    def measure(self, genotype: Genotype) -> Result:
        """The error, and all metrics of the task.

        Raises:
            ValueError: the error is not finite.
        """
        [result] = self.measure_together([genotype])
        if isinstance(result, Exception):
            raise result
        return result

    def measure_together(
        self, genotypes: Sequence[Genotype], images: int | None = None
    ) -> list[Result | Exception]:
        """For each genotype the result of `measure`, or the exception it raises.

        Args:
            genotypes: in any order, possibly repeated; sorted by path they share most computation.
            images: number of validation images (see `EvaluationContext.some`), which adds `errors` and `error_sizes` to
                the metrics (see `MetricAccumulator`); None for the whole split.
        """
        results = self._measured(list(dict.fromkeys(genotypes)), images)
        return [results[genotype] for genotype in genotypes]

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Weights, data, metric and numerical settings."""
        calibrated = {"recalibrate": self.bn_calibration_images, "calibration": context.calibration_manifest}
        return {
            **(calibrated if self.bn_calibration_images else {}),
            **context.kernels,
            "version": VERSION,
            "metric": context.task.error_name,
            "scoring": context.scoring_config,
            "weights": context.weights_digest,
            "data": context.data_manifest,
            "batch_size": context.batch_size,
            "precision": context.precision,
            "device": context.device.type,
        }

    @torch.inference_mode()
    def _measured(
        self, genotypes: Sequence[Genotype], images: int | None
    ) -> dict[Genotype, Result | Exception]:
        """One pass over the data; genotypes are distinct."""
        accumulators = {
            each: MetricAccumulator(self._context.task, by_pieces=images is not None) for each in genotypes
        }
        failed: dict[Genotype, Exception] = {}
        statistics = self._calibrated(genotypes, failed) if self.bn_calibration_images else None
        for batch in self._context.some(images):
            executor = PrefixExecutor(self._context.network, statistics)
            forward = partial(predict, self._context.task, images=batch["image"])
            for genotype, output in self._outputs(executor, genotypes, failed, forward):
                try:
                    accumulators[genotype].add(output, batch)
                except Exception as error:
                    failed[genotype] = error
        results: dict[Genotype, Result | Exception] = {**failed}
        for genotype in genotypes:
            if genotype not in failed:
                try:
                    results[genotype] = accumulators[genotype].result()
                except Exception as error:
                    results[genotype] = error
        return results

    def _calibrated(
        self, genotypes: Sequence[Genotype], failed: dict[Genotype, Exception]
    ) -> PrefixStatistics:
        """BN statistics of each genotype from calibration images; cached, since racing evaluates subnets repeatedly."""
        if len(self._known) > REMEMBERED:
            self._statistics, self._known = PrefixStatistics(), set()
        statistics, fresh = self._statistics, [each for each in genotypes if each not in self._known]
        for number, images in enumerate(
            self._context.calibration(self.bn_calibration_images) if fresh else ()
        ):
            statistics.learn(number)
            executor = PrefixExecutor(self._context.network, statistics)
            for _ in self._outputs(executor, fresh, failed, lambda net, images=images: net(images)):  # type: ignore[misc]
                pass
        statistics.learn(None)
        self._known.update(each for each in fresh if each not in failed)
        return statistics

    def _outputs(
        self,
        executor: PrefixExecutor,
        genotypes: Sequence[Genotype],
        failed: dict[Genotype, Exception],
        forward: Forward,
    ) -> Iterator[tuple[Genotype, Tensor]]:
        """Yields the output of every subnet that has not failed; adds new failures to `failed`."""
        waiting = [each for each in genotypes if each not in failed]
        for genotype, following in zip(waiting, [*waiting[1:], None], strict=False):
            try:
                output = self._output(executor, genotype, following, forward)
            except Exception as error:
                failed[genotype] = error
            else:
                yield genotype, output

    def _output(
        self, executor: PrefixExecutor, genotype: Genotype, following: Genotype | None, forward: Forward
    ) -> Tensor:
        with self._context.autocast():
            try:
                return forward(executor.subnet(genotype, following))
            except Exception:
                # cached activations of shared prefixes may have exhausted the memory: retry without them
                if not executor.holds_maps:
                    raise
                executor.forget()
                return forward(executor.subnet(genotype))
