"""Warnings about measurements of a search: noisy latencies and constant objectives."""

from collections.abc import Iterator, Sequence

import numpy as np

from evonas.archive import Evaluation
from evonas.report.metrics.pareto import Values

SHOWN = 3


class LatencyWarnings:
    """Notices measurements whose spread is above their limit; each of the first few is worth a line."""

    def __init__(self) -> None:
        self.noisy = 0

    def about(self, fact: Evaluation) -> Iterator[str]:
        """What to tell a person about a new fact; usually nothing."""
        latency = fact.extra.get("latency")
        if not isinstance(latency, dict) or not latency.get("noisy"):
            return
        self.noisy += 1
        if self.noisy <= SHOWN:
            more = " (further ones are in the archive)" if self.noisy == SHOWN else ""
            yield (
                f"noisy latency: {fact.genotype}: its spread is {latency['cv']:.0%} of its mean, "
                f"more than {latency['cv_limit']:.0%}; is the computer busy?{more}"
            )


def constant_objectives(names: Sequence[str], values: Values) -> Iterator[str]:
    """What to tell about objectives that are the same for every point of the first generation.

    Args:
        names: of the objectives.
        values: points by objectives.
    """
    if len(values) < 2:
        return
    for name, column in zip(names, np.asarray(values).T, strict=True):
        if np.ptp(column) == 0:
            yield (
                f"objective '{name}' is {column[0]:g} for all {len(column)} points of the first generation; "
                "a search cannot learn from it"
            )
