"""Rank correlation between a score and the error after training, with costs as baselines.

The numbers of parameters or MACs alone rank networks well (Kendall tau about 0.55 on NAS-Bench-201). Every
statistic is therefore given for them, too, and tau also within bins of similar cost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Numbers = NDArray[np.float64]
Pair = Mapping[str, Any]

RESAMPLES = 1000
# with fewer pairs, the confidence interval of tau is too wide to be useful
FEW = 20


@dataclass(frozen=True)
class Scores:
    """Score and outcome of networks, both minimised, and the cost bin of each network."""

    score: Numbers
    outcome: Numbers
    bins: NDArray[np.intp]


def statistics(
    pairs: Sequence[Pair], rng: np.random.Generator, bins: int = 3, top: int = 3
) -> dict[str, Any]:
    """All statistics of a ranking check as plain JSON data; None where undefined.

    Args:
        pairs: `inherited` and `retrained` error, `macs` and optionally `params` of each network.
        rng: random generator of the bootstrap.
        bins: number of bins of equal size by MACs.
        top: number of best-scored networks considered by the regret.

    Returns:
        `tau`, `low`, `high` of the inherited error, `tau_macs`, `bins`, `top`, and `predictors`: the
        statistics of `ranking_statistics` for inherited, macs and params.
    """
    columns = {key: np.array([pair[key] for pair in pairs], dtype=float) for key in ("inherited", "macs")}
    columns["macs"] = -columns["macs"]
    if all("params" in pair for pair in pairs):
        columns["params"] = -np.array([pair["params"] for pair in pairs], dtype=float)
    outcome = np.array([pair["retrained"] for pair in pairs], dtype=float)
    place = cost_bins(-columns["macs"], bins)
    found = {
        key: ranking_statistics(Scores(score, outcome, place), rng, top) for key, score in columns.items()
    }
    return {
        "tau": found["inherited"]["tau"],
        "low": found["inherited"]["tau_low"],
        "high": found["inherited"]["tau_high"],
        "tau_macs": found["macs"]["tau"],
        "bins": int(place.max()) + 1,
        "top": min(top, len(pairs)),
        "predictors": found,
    }


def ranking_statistics(scores: Scores, rng: np.random.Generator, top: int) -> dict[str, float | None]:
    """Kendall tau, Spearman rho and tau at equal cost, each with a 95 % bootstrap interval, and the regret."""
    counts = _resamples(len(scores.score), rng)
    same = scores.bins[:, None] == scores.bins[None, :]
    found: dict[str, float] = {}
    for name, mask in (("tau", np.ones_like(same)), ("tau_at_cost", same)):
        found[name] = float(_taus(scores, np.ones((1, len(same))), mask)[0])
        found[f"{name}_low"], found[f"{name}_high"] = interval(_taus(scores, counts, mask))
    found["rho"] = float(_rhos(scores, np.arange(len(same))[None])[0])
    found["rho_low"], found["rho_high"] = interval(_rhos(scores, _picks(counts)))
    found["regret"] = regret(scores.score, scores.outcome, top)
    return {key: value if math.isfinite(value) else None for key, value in found.items()}


def tau(first: Numbers, second: Numbers) -> float:
    """Kendall's tau-b; NaN if one side is constant."""
    one = np.zeros(len(first), dtype=np.intp)
    scores = Scores(np.asarray(first, dtype=float), np.asarray(second, dtype=float), one)
    return float(_taus(scores, np.ones((1, len(one))), np.ones((len(one), len(one)), dtype=bool))[0])


def interval(values: Numbers) -> tuple[float, float]:
    """95 % percentile interval of bootstrap statistics; NaN if none is finite."""
    kept = values[np.isfinite(values)]
    if not len(kept):
        return math.nan, math.nan
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def regret(score: Numbers, outcome: Numbers, top: int) -> float:
    """Outcome of the best of the `top` best-scored networks minus the best outcome of all."""
    chosen = np.argsort(score, kind="stable")[:top]
    return float(outcome[chosen].min() - outcome.min())


def cost_bins(cost: Numbers, count: int) -> NDArray[np.intp]:
    """(N,) cost bin of each network; bins have equal sizes of at least three, so there may be fewer."""
    count = max(1, min(count, len(cost) // 3))
    place = np.empty(len(cost), dtype=np.intp)
    for number, rows in enumerate(np.array_split(np.argsort(cost, kind="stable"), count)):
        place[rows] = number
    return place


def agreement(first: Sequence[Pair], second: Sequence[Pair]) -> dict[str, Any]:
    """Agreement of two ranking checks of the same networks, such as two seeds of one supernet.

    Returns:
        `common`: number of common networks; `inherited` and `retrained`: tau between both checks' errors;
        `ceiling`: upper bound that the latter sets to any score's tau with one of the checks.
    """
    other = {pair["genotype"]: pair for pair in second}
    common = [(pair, other[pair["genotype"]]) for pair in first if pair["genotype"] in other]
    result: dict[str, Any] = {"common": len(common)}
    for key in ("inherited", "retrained"):
        sides = np.array([[mine[key], theirs[key]] for mine, theirs in common], dtype=float).reshape(-1, 2)
        value = tau(sides[:, 0], sides[:, 1]) if len(common) > 1 else math.nan
        result[key] = value if math.isfinite(value) else None
    result["ceiling"] = None if result["retrained"] is None else ceiling(result["retrained"])
    return result


def ceiling(agreed: float, trainings: int = 1) -> float:
    """Tau between the expected errors of networks and their mean errors over several trainings.

    Assumes normal errors and noise: tau is 2/pi asin of the correlation (Greiner, 1909), the correlation of two
    trainings is the reliability of one, the reliability of a mean follows (Spearman, 1910; Brown, 1910), and
    its square root is the correlation with the expected error.

    Args:
        agreed: tau between two trainings of the same networks.
        trainings: number of trainings that errors are averaged over.

    Returns:
        The upper bound of any score's tau; 0 if `agreed` is not positive.
    """
    single = math.sin(math.pi / 2 * max(agreed, 0.0))
    of_mean = trainings * single / (1 + (trainings - 1) * single)
    return 2 / math.pi * math.asin(math.sqrt(of_mean))


def _resamples(size: int, rng: np.random.Generator) -> Numbers:
    """(R, N) bootstrap multiplicities of each network."""
    return rng.multinomial(size, np.full(size, 1.0 / size), size=RESAMPLES).astype(float)


def _picks(counts: Numbers) -> NDArray[np.intp]:
    size = counts.shape[1]
    rows = [np.repeat(np.arange(size), row.astype(int)) for row in counts]
    return np.array(rows, dtype=np.intp).reshape(-1, size)


def _taus(scores: Scores, counts: Numbers, mask: NDArray[np.bool_]) -> Numbers:
    """(R,) tau-b over the masked pairs for each row of (R, N) multiplicities."""
    first = np.sign(scores.score[:, None] - scores.score[None, :]) * mask
    second = np.sign(scores.outcome[:, None] - scores.outcome[None, :]) * mask
    agreeing, left, right = (
        np.einsum("ri,ri->r", counts @ pairs, counts) for pairs in (first * second, first**2, second**2)
    )
    norm = np.sqrt(left * right)
    return np.divide(agreeing, norm, out=np.full(len(counts), np.nan), where=norm > 0)


def _rhos(scores: Scores, picks: NDArray[np.intp]) -> Numbers:
    """(R,) Spearman's rho of each row of (R, N) resampled networks; NaN if one side is constant."""
    ranks = [rankdata(side[picks], axis=1) for side in (scores.score, scores.outcome)]
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), norm, out=np.full(len(picks), np.nan), where=norm > 0)
