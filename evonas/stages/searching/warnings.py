"""Warnings about measurements of a search: noisy latencies and constant objectives."""

from collections.abc import Iterator, Sequence

import numpy as np

from evonas.archive import Evaluation
from evonas.report.metrics.pareto import Values

SHOWN = 3


class LatencyWarnings:
    """Warns of the first few latencies whose spread is above their limit."""

    def __init__(self) -> None:
        self.noisy = 0

    def check(self, evaluation: Evaluation) -> Iterator[str]:
        """Warnings about a new evaluation; usually none."""
        for name, latency in evaluation.extra.items():
            if not isinstance(latency, dict) or not latency.get("noisy"):
                continue
            self.noisy += 1
            if self.noisy > SHOWN:
                continue
            more = " (further ones are in the archive)" if self.noisy == SHOWN else ""
            yield (
                f"noisy {name}: {evaluation.genotype}: its spread is {latency['cv']:.0%} of its mean, "
                f"more than {latency['cv_limit']:.0%}; is the computer busy?{more}"
            )


def constant_objectives(names: Sequence[str], values: Values) -> Iterator[str]:
    """Warnings about objectives that are equal for every point of the first generation.

    Args:
        names: of the objectives.
        values: one row for each point, one column for each objective.
    """
    if len(values) < 2:
        return
    for name, column in zip(names, np.asarray(values).T, strict=True):
        if np.ptp(column) == 0:
            yield (
                f"objective '{name}' is {column[0]:g} for all {len(column)} points of the first generation; "
                "a search cannot learn from it"
            )
