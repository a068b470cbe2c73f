"""Search results as arrays."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.noisy_dominance import ends, front_within_noise
from evonas.report.metrics.pareto import Indices, Values, front


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of the evaluations of one part under one fingerprint.

    Args:
        part: "shared" or "exclusive".
        measured: number of evaluations, including failed ones.
        failed: number of failed evaluations.
        seconds: wall-clock time, summed over workers.
    """

    part: str
    fingerprint: str
    measured: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class SearchResults:
    """Completely evaluated points of a search, in the order asked.

    Args:
        names: names of the M objectives; the first is the error that selection rules minimise.
        genotypes: N formatted genotypes.
        values: (N, M) finite objective values, minimised.
        units: objective name -> unit.
        reference: (M,) reference point of the hypervolume, or None if the archive has none.
        ideal: (M,) ideal point of the hypervolume; None for zero.
        failures: reason -> number of evaluations that failed for it.
        identity: the archive's meta.
        seconds: wall-clock time of all evaluations, summed over workers.
        extras: other recorded data of each point; may be empty.
        asked: index of each point among all asked points, including failed ones; may be empty.
        costs: cost of each part.
    """

    names: tuple[str, ...]
    genotypes: tuple[str, ...]
    values: Values
    units: Mapping[str, str] = field(default_factory=dict)
    reference: tuple[float, ...] | None = None
    ideal: tuple[float, ...] | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    extras: Sequence[Mapping[str, Any]] = ()
    asked: Sequence[int] = ()
    costs: Sequence[Cost] = ()

    @cached_property
    def ends(self) -> tuple[Values, Values]:
        """(N, M) lower and upper confidence bounds; both are the value where no interval was recorded."""
        return ends(self.names, self.values, self.extras)

    @property
    def front_within_noise(self) -> Indices:
        """Rows that no other row dominates beyond the confidence intervals."""
        return front_within_noise(*self.ends)

    @property
    def hypervolume(self) -> float | None:
        """Normalised hypervolume in [0, 1]; None without a reference point."""
        return None if self.reference is None else hypervolume(self.values, self.reference, self.ideal)

    @property
    def num_failed(self) -> int:
        """Number of failed evaluations."""
        return sum(self.failures.values())

    def column(self, name: str) -> int:
        """Index of an objective; raises a UserError for an unknown name."""
        if name not in self.names:
            known = ", ".join(self.names)
            raise UserError(f"This search has no objective '{name}'.", f"Its objectives are: {known}")
        return self.names.index(name)

    def label(self, name: str) -> str:
        """Name of an objective with its unit in parentheses."""
        unit = self.units.get(name, "")
        return f"{name} ({unit})" if unit else name

    def objectives(self, row: int) -> dict[str, float]:
        """Objective values of one point by name."""
        return dict(zip(self.names, (float(value) for value in self.values[row]), strict=True))


def gather(
    names: Sequence[str], rows: Iterable[tuple[str, Mapping[str, float] | None, str]], **about: Any
) -> SearchResults:
    """Merge the parts of each genotype; points with a failed or missing part are left out.

    Args:
        names: objective names, in order.
        rows: (genotype, objective values or None if failed, reason of the failure), in the order asked.
        about: other fields of `SearchResults`.
    """
    points: dict[str, dict[str, float]] = {}
    failures: Counter[str] = Counter()
    for genotype, objectives, reason in rows:
        if objectives is None:
            failures[reason] += 1
        points.setdefault(genotype, {}).update(objectives or {})
    whole = {
        text: [found[name] for name in names] for text, found in points.items() if set(names) <= set(found)
    }
    values = np.array(list(whole.values()), dtype=float).reshape(len(whole), len(names))
    finite = np.isfinite(values).all(axis=1)
    genotypes = tuple(text for text, keep in zip(whole, finite, strict=True) if keep)
    return SearchResults(tuple(names), genotypes, values[finite], failures=dict(failures), **about)


def predictions(identity: Mapping[str, Any]) -> list[str]:
    """One sentence per predicted objective: its predictor and the predictor's accuracy.

    Args:
        identity: the archive's meta.
    """
    sources: Mapping[str, str] = identity.get("sources", {})
    return [f"{name} is predicted: {source}." for name, source in sources.items()]


def front_summary(
    names: Sequence[str],
    values: Values,
    reference: Sequence[float] | None,
    ideal: Sequence[float] | None = None,
) -> str:
    """One line of text: size of the Pareto front, hypervolume and best value of each objective."""
    parts = [f"{len(front(values))} on the front"]
    if reference is not None:
        parts.append(f"hypervolume {hypervolume(values, reference, ideal):.4f}")
    if len(values):
        parts += [f"best {name} {least:.4g}" for name, least in zip(names, values.min(axis=0), strict=True)]
    return ", ".join(parts)
