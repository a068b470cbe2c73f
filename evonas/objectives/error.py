"""The task's error of subnets with inherited weights, on the holdout split."""

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
# networks whose batch-norm statistics are kept, a few kilobytes each
REMEMBERED = 512

Answer = tuple[float, Mapping[str, Any]]
Net = Callable[[Tensor], Tensor]
Look = Callable[[Net], Tensor]


class Error:
    """`metrics[task.error_name]` over the holdout split, or its first images; all metrics are kept beside it.

    Subnets that are measured together go through the images together: each batch is looked at by all of
    them before the next, and what their beginnings have in common is computed once (`supernets/prefix.py`).

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

    def prepare(self, context: EvaluationContext) -> None:
        """Decode the holdout split and load the supernet, so that the first measurement costs no more."""
        self._context, self._statistics, self._known = context, PrefixStatistics(), set[Genotype]()
        _ = context.network, context.batches, context.calibration(self.recalibrate)

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
            images: how many of `context.some(images)` to look at; None is the whole split. Beside the
                metrics there are then `errors` and `error_sizes`, see `tally.py`.
        """
        order = sorted(dict.fromkeys(genotypes), key=self._context.family.path)
        answers = self._measured(order, images)
        return [answers[genotype] for genotype in genotypes]

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Weights, data, metric and how the sums are taken."""
        renewed = {"recalibrate": self.recalibrate, "calibration": context.calibration_manifest}
        return {
            **(renewed if self.recalibrate else {}),
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
    ) -> dict[Genotype, Answer | Exception]:
        """One pass; the genotypes are different, and in the order of their paths."""
        tallies = {
            each: MetricAccumulator(self._context.task, by_pieces=images is not None) for each in genotypes
        }
        failed: dict[Genotype, Exception] = {}
        statistics = self._learnt(genotypes, failed) if self.recalibrate else None
        for batch in self._context.some(images):
            walk, look = (
                PrefixExecutor(self._context.network, statistics),
                partial(self._predict, images=batch["image"]),
            )
            for genotype, output in self._outputs(walk, genotypes, failed, look):
                try:
                    tallies[genotype].add(output, batch)
                except Exception as error:
                    failed[genotype] = error
        return {each: failed[each] if each in failed else _answer(tallies[each]) for each in genotypes}

    def _learnt(self, genotypes: Sequence[Genotype], failed: dict[Genotype, Exception]) -> PrefixStatistics:
        """Batch-norm statistics of each genotype's own, by training images; kept, since a race asks again."""
        if len(self._known) > REMEMBERED:
            self._statistics, self._known = PrefixStatistics(), set()
        statistics, fresh = self._statistics, [each for each in genotypes if each not in self._known]
        for number, images in enumerate(self._context.calibration(self.recalibrate) if fresh else ()):
            statistics.learn(number)
            walk, look = PrefixExecutor(self._context.network, statistics), partial(self._run, images=images)
            for _ in self._outputs(walk, fresh, failed, look):
                pass
        statistics.learn(None)
        self._known.update(each for each in fresh if each not in failed)
        return statistics

    def _outputs(
        self,
        walk: PrefixExecutor,
        genotypes: Sequence[Genotype],
        failed: dict[Genotype, Exception],
        look: Look,
    ) -> Iterator[tuple[Genotype, Tensor]]:
        """What every subnet that has not failed answers to the images of the walk; who fails is noted."""
        waiting = [each for each in genotypes if each not in failed]
        for genotype, following in zip(waiting, [*waiting[1:], None], strict=False):
            try:
                output = self._output(walk, genotype, following, look)
            except Exception as error:
                failed[genotype] = error
            else:
                yield genotype, output

    def _output(
        self, walk: PrefixExecutor, genotype: Genotype, following: Genotype | None, look: Look
    ) -> Tensor:
        try:
            return look(walk.subnet(genotype, following))
        except Exception:
            # what is kept for others may have been what was too much for the memory
            if not walk.holds_maps:
                raise
            walk.forget()
            return look(walk.subnet(genotype))

    def _run(self, net: Net, images: Tensor) -> Tensor:
        with self._context.autocast():
            return net(images)

    def _predict(self, net: Net, images: Tensor) -> Tensor:
        with self._context.autocast():
            return predict(self._context.task, net, images)


def _answer(tally: MetricAccumulator) -> Answer | Exception:
    try:
        return tally.result()
    except Exception as error:
        return error
