"""The table of benchmarks/strategies.py: statistics of inherited errors beside errors of networks alone."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trials import markdown

from evonas.randomness import generator
from evonas.report.analysis.rank_correlation import ceiling, cost_bins, interval, tau
from evonas.report.metrics.hypervolume import hypervolume

RESAMPLES, BINS = 1000, 3
Numbers = NDArray[np.float64]
COLUMNS = (
    "strategy",
    "tau (95 %)",
    "at equal cost",
    "tau, renewed (95 %)",
    "by seed",
    "at equal cost",
    "max net",
    "min net",
    "max, renewed",
    "min, renewed",
    "CPU s a step",
    "front",
)


def table(
    task: str, alone: Sequence[Mapping[str, Any]], answers: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """A Markdown table, the best strategy by either kind of statistics first; numbers are means over seeds.

    The truth is the mean error of each network alone over all seeds. Intervals come from drawing the networks
    anew, the same for all seeds of a strategy. `Renewed` are errors with batch-norm statistics of each
    network's own. The front's box goes from zero to twice the worst true error and to the largest network.
    """
    errors = np.array([[net["error"] for net in each["nets"]] for each in alone])
    macs = np.array([net["macs"] for net in alone[0]["nets"]], dtype=float)
    truth = errors.mean(axis=0)
    box = (2 * float(truth.max()), float(macs.max()) / 1e9)
    rows = [(name, *_row(found, truth, macs, box)) for name, found in answers.items()]
    rows.sort(key=lambda row: -row[1])
    written = [[name, *cells] for name, _, cells in rows]
    at_cost = f"{_tau_at_cost(-macs, truth, macs):.2f}"
    written.append(["multiply-adds alone", spread([-macs], truth), at_cost, *["-"] * (len(COLUMNS) - 3)])
    head = (
        f"Task {task}: {len(macs)} networks trained alone with {len(alone)} seeds{_agreed(errors)}; "
        f"{_supernets(answers)} a strategy.\n\n"
    )
    return head + markdown(COLUMNS, written)


def _agreed(errors: Numbers) -> str:
    """How two seeds rank networks alike, and what that leaves for the best of scores."""
    if len(errors) < 2:
        return ""
    found = _mean_agreement(errors)
    draws = [_mean_agreement(errors[:, nets]) for nets in _drawn(errors.shape[1])]
    highest, low, high = (ceiling(each, len(errors)) for each in (found, *interval(np.array(draws))))
    return (
        f", which rank them alike by {found:.2f}, so that their expected errors would have a tau of about "
        f"{highest:.2f} ({low:.2f} to {high:.2f}) with the mean over seeds"
    )


def _mean_agreement(errors: Numbers) -> float:
    """Tau between seeds, the rows, the mean of all pairs of them."""
    return float(np.mean([tau(one, other) for one, other in combinations(errors, 2)]))


def _drawn(number: int) -> NDArray[np.intp]:
    """Networks drawn anew, a row each time."""
    return generator(0, "strategies/bootstrap").integers(number, size=(RESAMPLES, number))


def _supernets(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    counts = sorted({len(found) for found in answers.values()})
    return f"{' or '.join(map(str, counts))} supernet{'s' * (counts != [1])}"


def _row(
    found: Sequence[Mapping[str, Any]], truth: Numbers, macs: Numbers, box: tuple[float, float]
) -> tuple[float, list[str]]:
    inherited = [np.array(each["inherited"]) for each in found]
    renewed = [np.array(each["recalibrated"]) for each in found]
    timed = [each["step_s"] for each in found if each["step_s"] is not None]
    ends = [
        f"{np.mean([each[end] for each in kind]):.4f}" for kind in (inherited, renewed) for end in (-1, 0)
    ]
    shares = [hypervolume(np.array(each["front"]), box) for each in found]
    cells = [
        spread(inherited, truth),
        at_equal_cost(inherited, truth, macs),
        spread(renewed, truth),
        ", ".join(f"{tau(each, truth):.2f}" for each in renewed),
        at_equal_cost(renewed, truth, macs),
        *ends,
        f"{np.mean(timed):.2f}" if timed else "-",
        f"{np.mean(shares):.3f}",
    ]
    return max(_mean_tau(inherited, truth), _mean_tau(renewed, truth)), cells


def _mean_tau(scores: Sequence[Numbers], truth: Numbers) -> float:
    return float(np.nanmean([tau(score, truth) for score in scores]))


def spread(scores: Sequence[Numbers], truth: Numbers) -> str:
    """Mean tau of the scores with the truth, and its interval over networks drawn anew."""
    draws = _drawn(len(truth))
    found = np.array([np.mean([tau(score[rows], truth[rows]) for score in scores]) for rows in draws])
    low, high = interval(found)
    return f"{_mean_tau(scores, truth):.2f} ({low:.2f} to {high:.2f})"


def at_equal_cost(scores: Sequence[Numbers], truth: Numbers, macs: Numbers) -> str:
    """The mean of tau within bins of networks that cost about the same."""
    return f"{np.nanmean([_tau_at_cost(score, truth, macs) for score in scores]):.2f}"


def _tau_at_cost(score: Numbers, truth: Numbers, macs: Numbers) -> float:
    """The mean of tau inside bins of equal size by cost."""
    place = cost_bins(macs, BINS)
    return float(np.nanmean([tau(score[place == each], truth[place == each]) for each in range(BINS)]))
