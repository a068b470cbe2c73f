"""The task's error of a subnet with inherited weights, on the holdout split."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.objectives.bench import Bench
from evonas.space.genotype import Genotype
from evonas.tasks.base import predict

VERSION = 1


class Error:
    """`metrics[task.error_name]` over the whole holdout split; all metrics are kept beside it.

    Args:
        recalibrate: training images that renew each subnet's batch-norm statistics, which the
            supernet's training mixes; 0 to measure with the mixture.
    """

    name = "error"
    unit = ""
    part: Part = "shared"

    def __init__(self, recalibrate: int = 0) -> None:
        if recalibrate < 0:
            raise UserError(f"objective.error.recalibrate={recalibrate} is negative.", "Use 0 for none.")
        self.recalibrate = recalibrate

    def prepare(self, bench: Bench) -> None:
        """Decode the holdout split and load the supernet, so that the first measurement costs no more."""
        self._bench = bench
        _ = bench.supernet, bench.batches, bench.calibration(self.recalibrate)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The error, and every metric of the task; ValueError if the error is not finite."""
        metrics = self._metrics(genotype)
        value = metrics[self._bench.task.error_name]
        if not math.isfinite(value):
            raise ValueError(f"{self._bench.task.error_name} is {value} on the holdout split")
        # a side metric without a value (a class that never occurs) must not fail the point
        return value, {"metrics": {key: item for key, item in metrics.items() if math.isfinite(item)}}

    def identity(self, bench: Bench) -> Mapping[str, Any]:
        """Weights, data, metric and how the sums are taken."""
        renewed = {"recalibrate": self.recalibrate, "calibration": bench.calibration_manifest}
        return {
            **(renewed if self.recalibrate else {}),
            "version": VERSION,
            "metric": bench.task.error_name,
            "scoring": bench.scoring_config,
            "weights": bench.weights_digest,
            "data": bench.data_manifest,
            "batch_size": bench.batch_size,
            "precision": bench.precision,
            "device": bench.device.type,
        }

    @torch.inference_mode()
    def _metrics(self, genotype: Genotype) -> dict[str, float]:
        bench = self._bench
        subnet, meter = bench.subnet(genotype, self.recalibrate), bench.task.meter()
        for batch in bench.batches:
            with bench.autocast():
                output = predict(bench.task, subnet, batch["image"])
            # a meter may clamp, and so turn a network that has diverged into a merely bad one
            if not torch.isfinite(output).all():
                raise ValueError("the subnet's output is not finite")
            meter.update(output.float(), batch)
        return {name: float(value) for name, value in meter.compute().items()}
