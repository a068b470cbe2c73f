"""Snapshots of a search over time, and the generation of each network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evonas.report.metrics.pareto import Indices
from evonas.report.results import SearchResults


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a search after its first `count` points, with a label."""

    count: int
    label: str


def generation_size(identity: Mapping[str, Any]) -> int | None:
    """Points per generation, or None if batches have different sizes or the search is asynchronous.

    Args:
        identity: the archive's meta.
    """
    searcher = identity.get("searcher")
    if not isinstance(searcher, Mapping) or "in_flight" in identity or {"initial", "batch"} & set(searcher):
        return None
    size = searcher.get("population")
    return size if isinstance(size, int) and size > 0 else None


def asked(results: SearchResults) -> Indices:
    """(N,) index of each point among all asked points."""
    return np.asarray(results.asked if len(results.asked) else range(len(results.values)), dtype=np.intp)


def generation_indices(results: SearchResults) -> Indices:
    """(N,) generation of each point; without generations, the index of each point."""
    return asked(results) // (generation_size(results.identity) or 1)


def snapshots(results: SearchResults, most: int) -> list[Snapshot]:
    """At most `most` evenly spaced snapshots, the last one at the end; by generation if there are any."""
    size = generation_size(results.identity)
    if size is None:
        even = np.linspace(0, len(results.values), min(most, len(results.values)) + 1)[1:].astype(int)
        return [Snapshot(count, f"after {count} networks") for count in even.tolist()]
    generations = generation_indices(results)
    numbers = np.unique(generations)
    kept = numbers[np.unique(np.linspace(0, len(numbers) - 1, most).astype(int))]
    counts = [int((generations <= number).sum()) for number in kept]
    return [
        Snapshot(count, f"generation {number + 1}, after {count} networks")
        for number, count in zip(kept.tolist(), counts, strict=True)
    ]
