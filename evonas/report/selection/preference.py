"""Selection from a Pareto front by preference (achievement function) or by trade-off."""

import numpy as np

from evonas.report.metrics.pareto import Values, normalised

# radius of the neighbourhood in a normalised front (NSGANetV2's post-search)
NEAR = 0.125


def achievement(values: Values, weights: Values) -> Values:
    """(F,) achievement scalarising function: max over objectives of value / weight; smaller is better.

    Wierzbicki 1980, with the utopian point at zero, as in NSGANetV2's post-search: the weights are the
    aspiration levels, which a result of 1 meets exactly.

    Args:
        values: (F, M) non-negative objective values.
        weights: (M,) positive aspiration levels; infinity for an objective without one.
    """
    worst: Values = (values / weights).max(axis=1)
    return worst


def tradeoff(values: Values, near: float = NEAR) -> Values:
    """(F,) trade-off of each point: the smallest loss per unit of gain towards a neighbour; large at knees.

    mu of Rachmawati and Srinivasan 2009: the minimum over neighbours j of the summed losses from the point to
    j, divided by the summed gains, in the normalised front. Each point is compared with its neighbours within
    `near`, but at least with the two nearest points per objective.

    Args:
        values: (F, M) Pareto front.
        near: radius of the neighbourhood in the normalised front.
    """
    points = normalised(values)
    least = min(2 * points.shape[1], len(points) - 1)
    worth = np.full(len(points), np.inf)
    for row, point in enumerate(points):
        distance = np.linalg.norm(points - point, axis=1)
        order = [other for other in np.argsort(distance, kind="stable") if other != row]
        count = max(least, int((distance <= near).sum()) - 1)
        change = points[order[:count]] - point
        losses, gains = np.maximum(change, 0).sum(axis=1), np.maximum(-change, 0).sum(axis=1)
        ratios = losses[gains > 0] / gains[gains > 0]
        worth[row] = ratios.min() if len(ratios) else np.inf
    return worth
