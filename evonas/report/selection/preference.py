"""Choosing from a front by what a person prefers, or by what each point gives up for what it gains."""

import numpy as np

from evonas.report.metrics.pareto import Values, normalised

# how far neighbours may be, in a front that spans 0 to 1 (NSGANetV2's post-search)
NEAR = 0.125


def achievement(values: Values, weights: Values) -> Values:
    """The achievement scalarising function of each point: max of value / weight; less is better.

    Wierzbicki 1980 with the utopian point at zero, as NSGANetV2's post-search uses it: the weights are the
    wished values, and a point of 1 meets the wish exactly.

    Args:
        values: points by objectives, not negative.
        weights: the wished value of each objective, above zero; infinity where there is no wish.
    """
    worst: Values = (values / weights).max(axis=1)
    return worst


def tradeoff(values: Values, near: float = NEAR) -> Values:
    """For each point the least that a neighbour sacrifices per unit that it gains; a high value is a knee.

    mu of Rachmawati and Srinivasan 2009: the minimum over neighbours j of the summed losses when going from
    the point to j, divided by the summed gains, in the normalised front. A point without a neighbour within
    `near` is compared with the nearest ones, two for each objective, or all if there are fewer.

    Args:
        values: a front, points by objectives.
        near: radius of the neighbourhood.
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
