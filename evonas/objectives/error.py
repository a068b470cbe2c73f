"""The task's error of subnets with inherited weights, on the holdout split."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.nn.prefix import Walk
from evonas.objectives.bench import Bench
from evonas.objectives.tally import Tally
from evonas.space.evonet import architecture, prefix_key
from evonas.space.genotype import Genotype
from evonas.tasks.base import predict

VERSION = 2

Answer = tuple[float, Mapping[str, Any]]


class Error:
    """`metrics[task.error_name]` over the holdout split, or its first images; all metrics are kept beside it.

    Subnets that are measured together go through the images together: each batch is looked at by all of
    them before the next, and what their beginnings have in common is computed once (`nn/prefix.py`).
    With `recalibrate` each has statistics of its own from the first layer on, and nothing is shared.

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
        _ = bench.network, bench.batches, bench.calibration(self.recalibrate)

    def measure(self, genotype: Genotype) -> Answer:
        """The error, and every metric of the task; ValueError if the error is not finite."""
        [answer] = self.measure_together([genotype])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_together(
        self, genotypes: Sequence[Genotype], images: int | None = None
    ) -> list[Answer | Exception]:
        """What `measure` gives for each, or the exception that it raises.

        Args:
            genotypes: in any order, and with repetitions.
            images: how many of `bench.some(images)` to look at; None is the whole split. Beside the
                metrics there are then `errors` and `error_sizes`, see `tally.py`.
        """
        order = sorted(dict.fromkeys(genotypes), key=lambda each: prefix_key(self._bench.space, each))
        groups = [[each] for each in order] if self.recalibrate else [order]
        answers: dict[Genotype, Answer | Exception] = {}
        for group in groups:
            answers.update(self._measured(group, images))
        return [answers[genotype] for genotype in genotypes]

    def identity(self, bench: Bench) -> Mapping[str, Any]:
        """Weights, data, metric and how the sums are taken."""
        renewed = {"recalibrate": self.recalibrate, "calibration": bench.calibration_manifest}
        return {
            **(renewed if self.recalibrate else {}),
            **bench.kernels,
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
    def _measured(
        self, genotypes: Sequence[Genotype], images: int | None
    ) -> dict[Genotype, Answer | Exception]:
        """One pass; the genotypes are different, and in the order of their paths."""
        tallies = {each: Tally(self._bench.task, by_pieces=images is not None) for each in genotypes}
        failed: dict[Genotype, Exception] = {}
        for batch in self._bench.some(images):
            walk = Walk(self._bench.network)
            waiting = [each for each in genotypes if each not in failed]
            for genotype, following in zip(waiting, [*waiting[1:], None], strict=False):
                try:
                    tallies[genotype].add(self._output(walk, genotype, following, batch["image"]), batch)
                except Exception as error:
                    failed[genotype] = error
        return {each: failed[each] if each in failed else _answer(tallies[each]) for each in genotypes}

    def _output(self, walk: Walk, genotype: Genotype, following: Genotype | None, images: Tensor) -> Tensor:
        bench = self._bench
        if self.recalibrate:
            return self._predict(bench.subnet(genotype, self.recalibrate), images)
        own = architecture(bench.space, genotype)
        after = None if following is None else architecture(bench.space, following)
        try:
            return self._predict(walk.subnet(own, after), images)
        except Exception:
            # what is kept for others may have been what was too much for the memory
            if not walk.holds_maps:
                raise
            walk.forget()
            return self._predict(walk.subnet(own), images)

    def _predict(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        with self._bench.autocast():
            return predict(self._bench.task, net, images)


def _answer(tally: Tally) -> Answer | Exception:
    try:
        return tally.result()
    except Exception as error:
        return error
