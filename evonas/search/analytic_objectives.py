"""What a searcher may know of a point without a measurement: a number in closed form, torch-free.

A cheap form stands for an objective whose order it shares. It need not have its unit nor
know its constants: where values are needed, an affine fit to the recorded facts aligns it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Space

T = TypeVar("T")


class Cheap(Protocol):
    """A deterministic number of a point, found in microseconds."""

    def __call__(self, space: Space, genotype: Genotype) -> float: ...


class GeneSum:
    """A weighted sum of relative gene values, for declared spaces whose cost is about additive.

    Args:
        weights: by name of axis, row of bits or prefix; what is not named weighs 1.

    Example:
        `{_target_: evonas.search.analytic_objectives.GeneSum, weights: {d: 3.0}}`
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = dict(weights or {})

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """The sum; each gene counts from 0 to its weight, a row of bits by its ones."""
        total = 0.0
        for name, span in space.spans.items():
            weight = self._weights.get(name, self._weights.get(name.rstrip("0123456789"), 1.0))
            upper = sum(space.upper[span])
            total += weight * sum(genotype.genes[span]) / max(upper, 1)
        return total


def by_position(named: Mapping[Any, T], objectives: Sequence[str]) -> dict[int, T]:
    """What is given per objective, by its position: keys are names, or positions from 0.

    Args:
        named: for example {"macs": form} or {1: form}.
        objectives: names of the objectives in order; may be empty where keys are positions.

    Raises:
        UserError: for a name that is none of the objectives.
    """
    placed: dict[int, T] = {}
    for key, value in named.items():
        text = str(key)
        if text in objectives:
            placed[list(objectives).index(text)] = value
        elif text.isdecimal():
            placed[int(text)] = value
        else:
            known = ", ".join(objectives) or "no names were given, so use positions from 0"
            raise UserError(f"{text!r} is no objective of this search.", f"Objectives: {known}.")
    return placed
