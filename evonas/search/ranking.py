"""Non-dominated sorting, crowding distance and scalarisation of minimised objective vectors.

N points, M objectives.
"""

import numpy as np
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting


def front_ranks(values: np.ndarray) -> np.ndarray:
    """(N,) index of the non-dominated front of each row of (N, M) values; 0 is the Pareto front."""
    ranks = np.zeros(len(values), dtype=int)
    for number, front in enumerate(NonDominatedSorting().do(values) if len(values) else ()):
        ranks[front] = number
    return ranks


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Indices of the Pareto front of (N, M) values, ascending."""
    return np.flatnonzero(front_ranks(values) == 0)


def best_first(values: np.ndarray) -> np.ndarray:
    """(N,) indices of (N, M) values, sorted by front, then by decreasing crowding distance.

    This is the crowded-comparison order of NSGA-II (Deb et al., "A fast and elitist multiobjective genetic
    algorithm: NSGA-II", 2002, section III.B). The sort is stable.
    """
    ranks = front_ranks(values)
    crowding = np.zeros(len(values))
    for rank in np.unique(ranks):
        of_front = np.flatnonzero(ranks == rank)
        crowding[of_front] = calc_crowding_distance(values[of_front])
    return np.lexsort((-crowding, ranks))


def to_unit(values: np.ndarray) -> np.ndarray:
    """(N, M) values with each column scaled to [0, 1]; a constant column becomes 0."""
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def chebyshev(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) augmented weighted Chebyshev distance of (N, M) values to their ideal point, after `to_unit`.

    max_j w_j u_j + 0.05 sum_j w_j u_j (Knowles, "ParEGO", 2006, eq. 2). With a single positive weight the
    order is that of this objective.
    """
    weighted = to_unit(values) * weights
    return weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
