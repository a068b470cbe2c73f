"""Moments of a search: after which networks it is looked at, and which generation a network belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evonas.report.metrics.pareto import Indices
from evonas.report.results import Facts


@dataclass(frozen=True, slots=True)
class Moment:
    """The first `count` facts of a search, and what this moment is called."""

    count: int
    label: str


def generation_size(identity: Mapping[str, Any]) -> int | None:
    """How many points each generation asks for, or None where batches differ or points come one by one.

    Args:
        identity: what an archive says about its search.
    """
    searcher = identity.get("searcher")
    if not isinstance(searcher, Mapping) or "in_flight" in identity or {"initial", "batch"} & set(searcher):
        return None
    size = searcher.get("population")
    return size if isinstance(size, int) and size > 0 else None


def asked(facts: Facts) -> Indices:
    """The place of every fact among all points that were asked."""
    return np.asarray(facts.asked if len(facts.asked) else range(len(facts.values)), dtype=np.intp)


def born(facts: Facts) -> Indices:
    """A number for every fact that grows over the search, and is equal for points asked together."""
    return asked(facts) // (generation_size(facts.identity) or 1)


def moments(facts: Facts, most: int) -> list[Moment]:
    """At most so many moments, evenly spaced and the last one the end; generations where there are some."""
    size = generation_size(facts.identity)
    if size is None:
        even = np.linspace(0, len(facts.values), min(most, len(facts.values)) + 1)[1:].astype(int)
        return [Moment(count, f"after {count} networks") for count in even.tolist()]
    begun = born(facts)
    numbers = np.unique(begun)
    kept = numbers[np.unique(np.linspace(0, len(numbers) - 1, most).astype(int))]
    counts = [int((begun <= number).sum()) for number in kept]
    return [
        Moment(count, f"generation {number + 1}, after {count} networks")
        for number, count in zip(kept.tolist(), counts, strict=True)
    ]
