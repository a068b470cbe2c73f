"""What a method attains over its seeds: the surfaces that some, half or all of its runs reach.

Grunert da Fonseca, Fonseca and Hall 2001, "Inferential performance assessment of stochastic optimisers and
the attainment function"; computed by moocore.
"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.report.metrics.pareto import Values, front

# reached by the luckiest run, by half of the runs, by every run
LEVELS = (0.0, 50.0, 100.0)


def surfaces(runs: Sequence[Values], levels: Sequence[float] = LEVELS) -> Mapping[float, Values]:
    """For each level the minimal points that this percentage of the runs attains.

    Args:
        runs: points of each run, two or three objectives, minimised.
        levels: percentages; 0 stands for at least one run.

    Returns:
        Points by level, ordered by the first objective.

    Raises:
        UserError: no run has a point, or there are more than three objectives.
    """
    fronts = [run[front(run)] for run in runs if len(run)]
    if not fronts:
        raise UserError(
            "No run has a point, so nothing is attained.", "Compare runs that measured something."
        )
    if fronts[0].shape[1] not in (2, 3):
        raise UserError(
            f"Attainment surfaces of {fronts[0].shape[1]} objectives are not defined here.",
            "Choose two or three objectives.",
        )
    # a run without a point attains nothing, but it counts: levels are shares of all runs
    wanted = [level * len(runs) / len(fronts) for level in levels]
    sets = np.repeat(np.arange(len(fronts)), [len(points) for points in fronts])
    reached = [level for level in wanted if level <= 100.0]
    found = moocore.eaf(np.concatenate(fronts), sets, percentiles=sorted(set(reached)))
    none = np.empty((0, fronts[0].shape[1]))
    return {
        level: _ordered(found[np.isclose(found[:, -1], share)][:, :-1]) if share <= 100.0 else none
        for level, share in zip(levels, wanted, strict=True)
    }


def _ordered(points: Values) -> Values:
    return points[np.lexsort(points.T[::-1])]
