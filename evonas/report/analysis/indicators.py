"""Quality indicators of a set of points: hypervolume, IGD+ and size of the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.report.metrics.hypervolume import hypervolume, to_unit
from evonas.report.metrics.pareto import Values, front
from evonas.report.results import SearchResults


@dataclass(frozen=True)
class Scale:
    """Normalisation of indicators; indicators of different scales are not comparable.

    Args:
        names: objective names, in order.
        ideal: ideal point.
        reference: reference point of the hypervolume.
    """

    names: tuple[str, ...]
    ideal: tuple[float, ...]
    reference: tuple[float, ...]

    @classmethod
    def over(cls, names: Sequence[str], values: Values) -> "Scale":
        """The scale from the minima to the maxima of (N, M) values; NaNs are ignored."""
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        return cls(tuple(names), tuple(map(float, low)), tuple(map(float, high)))

    def text(self) -> str:
        """One line of text with the range of each objective."""
        sides = zip(self.names, self.ideal, self.reference, strict=True)
        return ", ".join(f"{name} {low:.6g} to {high:.6g}" for name, low, high in sides)


@dataclass(frozen=True, slots=True)
class Indicators:
    """Quality indicators.

    Args:
        hypervolume: normalised hypervolume in [0, 1]; larger is better.
        igd_plus: IGD+ in normalised units, smaller is better; None if the exact front is unknown (Ishibuchi
            et al. 2015; computed by moocore).
        front_size: number of non-dominated points.
    """

    hypervolume: float
    igd_plus: float | None
    front_size: int


def indicators(values: Values, scale: Scale, exact: Values | None = None) -> Indicators:
    """Compute all indicators of a set of points.

    Args:
        values: (N, M) minimised objective values.
        scale: normalisation.
        exact: (F, M) exact front, if known.
    """
    share = hypervolume(values, scale.reference, scale.ideal)
    if exact is None or not len(values):
        return Indicators(share, None, len(front(values)))
    inside = to_unit(values, scale.reference, scale.ideal)
    shortfall = moocore.igd_plus(inside, ref=to_unit(exact, scale.reference, scale.ideal))
    return Indicators(share, float(shortfall), len(front(values)))


def scale_of(results: SearchResults) -> Scale:
    """The scale that a search recorded.

    Raises:
        UserError: the search has no reference point yet.
    """
    if results.reference is None:
        raise UserError("The search has no reference point yet.", "Let it finish its first generation.")
    ideal = results.ideal or (0.0,) * len(results.names)
    return Scale(results.names, ideal, results.reference)


def common_scale(runs: Mapping[str, Scale]) -> Scale:
    """The common scale of several runs.

    Args:
        runs: run name -> scale.

    Raises:
        UserError: two runs have different scales, so that their indicators are not comparable.
    """
    (first, scale), *others = runs.items()
    for name, other in others:
        if other != scale:
            raise UserError(
                f"Runs '{first}' and '{name}' have different scales: {scale.text()}; {other.text()}.",
                "Compare runs of one task whose searches recorded the same reference point.",
            )
    return scale
