"""Empirical attainment surfaces of a method over its seeds.

Grunert da Fonseca, Fonseca and Hall 2001, "Inferential performance assessment of stochastic optimisers and
the attainment function"; computed by moocore.
"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.report.metrics.pareto import Values, front

# attained by at least one run, by half of the runs (median), by every run
LEVELS = (0.0, 50.0, 100.0)


def surfaces(runs: Sequence[Values], levels: Sequence[float] = LEVELS) -> Mapping[float, Values]:
    """Minimal points that are attained by each percentage of the runs.

    Args:
        runs: (N, M) points of each run, with two or three minimised objectives.
        levels: percentages of the runs; 0 means at least one run.

    Returns:
        level -> points, sorted by the first objective.

    Raises:
        UserError: no run has a point, or there are more than three objectives.
    """
    fronts = [run[front(run)] for run in runs if len(run)]
    if not fronts:
        raise UserError(
            "An attainment surface needs a run with at least one point.", "Compare runs with evaluations."
        )
    if fronts[0].shape[1] not in (2, 3):
        raise UserError(
            f"Attainment surfaces need 2 or 3 objectives, got {fronts[0].shape[1]}.",
            "Choose two or three objectives.",
        )
    # runs without a point count, too: levels are percentages of all runs
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
