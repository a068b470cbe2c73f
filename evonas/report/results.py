"""What a search found, as arrays: the archive read for people."""

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
    """What the measurements of one part under one fingerprint came to.

    Args:
        measured: facts, failed ones too.
        failed: those that failed.
        seconds: wall time, summed over workers.
    """

    part: str
    fingerprint: str
    measured: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class Facts:
    """Points whose every objective is known, in the order they were asked for.

    Args:
        names: objectives; the first is the error that choices minimise.
        genotypes: text forms, one a row.
        values: points by objectives, finite.
        units: unit of each objective by name.
        reference: the reference point that the archive recorded, or None.
        ideal: the best corner of the hypervolume's box, where it is not zero.
        failures: how often each reason made an evaluation fail.
        identity: what else the archive says about its search.
        seconds: wall time of all measurements, summed over workers.
        extras: what else was recorded of each point, in the order of `genotypes`; or nothing.
        asked: place of each point among all that were asked, failed ones too; or nothing.
        costs: what measuring took, by part.
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
        """Lower and upper ends of what was measured with an interval, such as latency; values elsewhere."""
        return ends(self.names, self.values, self.extras)

    @property
    def front_within_noise(self) -> Indices:
        """Rows that no other row beats beyond the intervals of what was measured."""
        return front_within_noise(*self.ends)

    @property
    def hypervolume(self) -> float | None:
        """The share of the recorded box that all points dominate; None where no box was recorded."""
        return None if self.reference is None else hypervolume(self.values, self.reference, self.ideal)

    @property
    def num_failed(self) -> int:
        """How many evaluations failed."""
        return sum(self.failures.values())

    def column(self, name: str) -> int:
        """The column of an objective; an unknown name is a UserError."""
        if name not in self.names:
            known = ", ".join(self.names)
            raise UserError(f"This search has no objective '{name}'.", f"Its objectives are: {known}")
        return self.names.index(name)

    def label(self, name: str) -> str:
        """An objective's name with its unit."""
        unit = self.units.get(name, "")
        return f"{name} ({unit})" if unit else name

    def objectives(self, row: int) -> dict[str, float]:
        """The objectives of one point by name."""
        return dict(zip(self.names, (float(value) for value in self.values[row]), strict=True))


def gather(
    names: Sequence[str], rows: Iterable[tuple[str, Mapping[str, float] | None, str]], **about: Any
) -> Facts:
    """Put the parts of each genotype together; a point with a failed or missing part is left out.

    Args:
        names: the objectives, in their order.
        rows: genotype, objectives or None where it failed, and the reason; in the order asked.
        about: other fields of `Facts`.
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
    return Facts(tuple(names), genotypes, values[finite], failures=dict(failures), **about)


def predictions(identity: Mapping[str, Any]) -> list[str]:
    """A line for every objective that was predicted and not measured: by what, and how well.

    Args:
        identity: what an archive says about its search.
    """
    sources: Mapping[str, str] = identity.get("sources", {})
    return [f"{name} is predicted: {source}." for name, source in sources.items()]


def front_summary(
    names: Sequence[str],
    values: Values,
    reference: Sequence[float] | None,
    ideal: Sequence[float] | None = None,
) -> str:
    """One line about a front for a person: its size, hypervolume and the best of each objective."""
    parts = [f"{len(front(values))} on the front"]
    if reference is not None:
        parts.append(f"hypervolume {hypervolume(values, reference, ideal):.4f}")
    if len(values):
        parts += [f"best {name} {least:.4g}" for name, least in zip(names, values.min(axis=0), strict=True)]
    return ", ".join(parts)
