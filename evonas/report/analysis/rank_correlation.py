"""Does a cheap score rank networks as their training does? Statistics of pairs, beside costs as baselines.

Parameters or multiply-adds alone rank networks well (tau about 0.55 on NAS-Bench-201), so every number here
is given for them too, and tau also inside bins of equal cost, where they say nothing.
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
# with fewer pairs the interval of tau spans most of what it could be
FEW = 20


@dataclass(frozen=True)
class Scores:
    """Score and outcome of some networks, less being better, and the bin of equal cost each belongs to."""

    score: Numbers
    outcome: Numbers
    bins: NDArray[np.intp]


def statistics(
    pairs: Sequence[Pair], rng: np.random.Generator, bins: int = 3, top: int = 3
) -> dict[str, Any]:
    """Every statistic of a ranking check, as plain JSON data; None where it is not defined.

    Args:
        pairs: `inherited`, `retrained` (errors), `macs` and perhaps `params` of each network.
        rng: of the bootstrap.
        bins: parts of equal size into which the networks are cut by their MACs.
        top: how many best-scored networks the regret looks at.

    Returns:
        `tau`, `low`, `high`, `tau_macs` as ever, and `predictors`: for each of inherited, macs and params
        what `judged` says.
    """
    columns = {key: np.array([pair[key] for pair in pairs], dtype=float) for key in ("inherited", "macs")}
    columns["macs"] = -columns["macs"]
    if all("params" in pair for pair in pairs):
        columns["params"] = -np.array([pair["params"] for pair in pairs], dtype=float)
    outcome = np.array([pair["retrained"] for pair in pairs], dtype=float)
    place = cost_bins(-columns["macs"], bins)
    found = {key: judged(Scores(score, outcome, place), rng, top) for key, score in columns.items()}
    return {
        "tau": found["inherited"]["tau"],
        "low": found["inherited"]["tau_low"],
        "high": found["inherited"]["tau_high"],
        "tau_macs": found["macs"]["tau"],
        "bins": int(place.max()) + 1,
        "top": min(top, len(pairs)),
        "predictors": found,
    }


def judged(scores: Scores, rng: np.random.Generator, top: int) -> dict[str, float | None]:
    """How well one score ranks: tau, rho, tau at equal cost, each with its 95 % interval, and the regret."""
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
    """Kendall's tau-b; NaN where one side is constant."""
    one = np.zeros(len(first), dtype=np.intp)
    scores = Scores(np.asarray(first, dtype=float), np.asarray(second, dtype=float), one)
    return float(_taus(scores, np.ones((1, len(one))), np.ones((len(one), len(one)), dtype=bool))[0])


def interval(values: Numbers) -> tuple[float, float]:
    """The middle 95 % of resampled statistics; NaN when none of them is defined."""
    kept = values[np.isfinite(values)]
    if not len(kept):
        return math.nan, math.nan
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def regret(score: Numbers, outcome: Numbers, top: int) -> float:
    """How much worse the best of the `top` best-scored networks is than the best of all, in outcome units."""
    chosen = np.argsort(score, kind="stable")[:top]
    return float(outcome[chosen].min() - outcome.min())


def cost_bins(cost: Numbers, count: int) -> NDArray[np.intp]:
    """The bin of each network: bins of equal size by cost, fewer where one would have under three."""
    count = max(1, min(count, len(cost) // 3))
    place = np.empty(len(cost), dtype=np.intp)
    for number, rows in enumerate(np.array_split(np.argsort(cost, kind="stable"), count)):
        place[rows] = number
    return place


def agreement(first: Sequence[Pair], second: Sequence[Pair]) -> dict[str, Any]:
    """How two ranking checks of the same networks agree, such as two seeds of one supernet.

    Returns:
        `common` networks, tau between the two checks of `inherited` and of `retrained` errors, and the
        `ceiling` that the latter sets to any score's tau with one of the checks.
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
    """The tau with mean errors over some trainings that the networks' expected errors themselves reach.

    Errors and their noise are taken as normal: tau is 2/pi asin of the correlation (Greiner, 1909), the
    correlation of two trainings is the reliability of one, that of their mean follows (Spearman, 1910;
    Brown, 1910), and its root is the correlation with what is expected.

    Args:
        agreed: tau between two trainings of the same networks.
        trainings: over which errors are averaged.

    Returns:
        0 where two trainings agree by nothing or less.
    """
    single = math.sin(math.pi / 2 * max(agreed, 0.0))
    of_mean = trainings * single / (1 + (trainings - 1) * single)
    return 2 / math.pi * math.asin(math.sqrt(of_mean))


def _resamples(size: int, rng: np.random.Generator) -> Numbers:
    """How often each network is drawn, one row a resample."""
    return rng.multinomial(size, np.full(size, 1.0 / size), size=RESAMPLES).astype(float)


def _picks(counts: Numbers) -> NDArray[np.intp]:
    size = counts.shape[1]
    rows = [np.repeat(np.arange(size), row.astype(int)) for row in counts]
    return np.array(rows, dtype=np.intp).reshape(-1, size)


def _taus(scores: Scores, counts: Numbers, mask: NDArray[np.bool_]) -> Numbers:
    """Tau-b over the masked pairs for each row of multiplicities, all rows in three matrix products."""
    first = np.sign(scores.score[:, None] - scores.score[None, :]) * mask
    second = np.sign(scores.outcome[:, None] - scores.outcome[None, :]) * mask
    agreeing, left, right = (
        np.einsum("ri,ri->r", counts @ pairs, counts) for pairs in (first * second, first**2, second**2)
    )
    norm = np.sqrt(left * right)
    return np.divide(agreeing, norm, out=np.full(len(counts), np.nan), where=norm > 0)


def _rhos(scores: Scores, picks: NDArray[np.intp]) -> Numbers:
    """Spearman's rho of each row of picked networks; NaN where one side is constant."""
    ranks = [rankdata(side[picks], axis=1) for side in (scores.score, scores.outcome)]
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), norm, out=np.full(len(picks), np.nan), where=norm > 0)
