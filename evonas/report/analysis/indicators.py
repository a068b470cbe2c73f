"""How good a set of points is, on a scale that is recorded: hypervolume, IGD+ and the size of the front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.report.metrics.hypervolume import hypervolume, to_unit
from evonas.report.metrics.pareto import Values, front
from evonas.report.results import Facts


@dataclass(frozen=True)
class Scale:
    """The box in which indicators are taken; numbers of different boxes must never meet.

    Args:
        names: the objectives, in order.
        ideal: the best corner.
        reference: the worst corner, the reference point of the hypervolume.
    """

    names: tuple[str, ...]
    ideal: tuple[float, ...]
    reference: tuple[float, ...]

    @classmethod
    def over(cls, names: Sequence[str], values: Values) -> "Scale":
        """The box that a whole set of points spans, such as all rows of a table; NaN counts for nothing."""
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        return cls(tuple(names), tuple(map(float, low)), tuple(map(float, high)))

    def text(self) -> str:
        """The box for a person: every objective from its best to its worst number."""
        sides = zip(self.names, self.ideal, self.reference, strict=True)
        return ", ".join(f"{name} {low:.6g} to {high:.6g}" for name, low, high in sides)


@dataclass(frozen=True, slots=True)
class Indicators:
    """What a set of points is worth; `igd_plus` is None where no exact front is known.

    Args:
        hypervolume: share of the scale's box that is dominated, more is better.
        igd_plus: mean shortfall from the exact front in units of the box, less is better (Ishibuchi et al.
            2015; computed by moocore).
        front_size: points that no other point dominates.
    """

    hypervolume: float
    igd_plus: float | None
    front_size: int


def indicators(values: Values, scale: Scale, exact: Values | None = None) -> Indicators:
    """All indicators of a set of points.

    Args:
        values: points by objectives, minimised.
        scale: the box.
        exact: the exact front in the same units, if it is known.
    """
    share = hypervolume(values, scale.reference, scale.ideal)
    if exact is None or not len(values):
        return Indicators(share, None, len(front(values)))
    inside = to_unit(values, scale.reference, scale.ideal)
    shortfall = moocore.igd_plus(inside, ref=to_unit(exact, scale.reference, scale.ideal))
    return Indicators(share, float(shortfall), len(front(values)))


def scale_of(facts: Facts) -> Scale:
    """The box that a search recorded.

    Raises:
        UserError: it recorded none, because nothing was measured yet.
    """
    if facts.reference is None:
        raise UserError("The search has no reference point yet.", "Let it finish its first generation.")
    ideal = facts.ideal or (0.0,) * len(facts.names)
    return Scale(facts.names, ideal, facts.reference)


def common_scale(runs: Mapping[str, Scale]) -> Scale:
    """The one scale of several runs.

    Args:
        runs: scales by the name of the run.

    Raises:
        UserError: two runs were recorded on different scales; no plot may show both.
    """
    (first, scale), *others = runs.items()
    for name, other in others:
        if other != scale:
            raise UserError(
                f"Runs '{first}' and '{name}' have different scales: {scale.text()}; {other.text()}.",
                "Compare runs of one task whose searches recorded the same reference point.",
            )
    return scale
