"""Objectives that searchers compute in closed form, without a measurement and without torch.

An analytic objective ranks points as the measured objective does. It may have another unit and offset:
where values are needed, an affine fit to the observations aligns it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Space

T = TypeVar("T")


class AnalyticObjective(Protocol):
    """A deterministic function of a genotype that takes microseconds."""

    def __call__(self, space: Space, genotype: Genotype) -> float: ...


class GeneSum:
    """Weighted sum of relative gene values, for declared spaces whose cost is roughly additive.

    Args:
        weights: weight by the name of an axis or row of bits, or by that name without trailing digits;
            1 by default.

    Example:
        `{_target_: evonas.search.analytic_objectives.GeneSum, weights: {d: 3.0}}`
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = dict(weights or {})

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """The sum over genes; each contributes 0 to its weight, a row of bits in proportion to its ones."""
        total = 0.0
        for name, span in space.spans.items():
            weight = self._weights.get(name, self._weights.get(name.rstrip("0123456789"), 1.0))
            upper = sum(space.upper[span])
            total += weight * sum(genotype.genes[span]) / max(upper, 1)
        return total


def by_index(named: Mapping[Any, T], objectives: Sequence[str]) -> dict[int, T]:
    """Replace objective names in the keys of a mapping by their indices.

    Args:
        named: mapping with objective names or indices from 0 as keys, such as {"macs": form} or {1: form}.
        objectives: names of the objectives in order; may be empty if all keys are indices.

    Raises:
        UserError: a key is neither an objective nor an index.
    """
    placed: dict[int, T] = {}
    for key, value in named.items():
        text = str(key)
        if text in objectives:
            placed[list(objectives).index(text)] = value
        elif text.isdecimal():
            placed[int(text)] = value
        else:
            known = ", ".join(objectives) or "none are named, so use indices from 0"
            raise UserError(f"Unknown objective {text!r}.", f"Objectives: {known}.")
    return placed
