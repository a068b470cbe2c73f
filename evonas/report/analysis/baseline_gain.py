"""What a search gained over its baselines at equal cost.

The baselines' errors are interpolated on their own Pareto front, so that a selected network is compared with the best
that the baselines reach at its cost and not with whichever of them is nearest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.metric import Metric, converted
from evonas.report.metrics.pareto import front

# objectives that may be the cost, the one that people pay for first
COSTS = ("latency", "macs", "params")
UNITS = {"latency": "ms", "macs": "GMAC", "params": "M"}
BASELINES = "baselines/baselines.json"


@dataclass(frozen=True, slots=True)
class Scored:
    """A trained network: its cost, and its error on the validation split."""

    name: str
    cost: float
    error: float


@dataclass(frozen=True, slots=True)
class AtEqualCost:
    """A selected network beside the baselines at its cost.

    Args:
        baseline: the baselines' error at this cost; None where the network is cheaper than every baseline.
    """

    name: str
    cost: float
    error: float
    baseline: float | None

    @property
    def gain(self) -> float | None:
        """How much less the network errs than the baselines; None where none is as cheap."""
        return None if self.baseline is None else self.baseline - self.error


@dataclass(frozen=True, slots=True)
class Gain:
    """What the selected networks gained over the baselines.

    Args:
        cost: name of the cost objective.
        unit: unit of the cost.
        metric: how people read the error.
        rows: the selected networks in order of cost.
    """

    cost: str
    unit: str
    metric: Metric
    rows: tuple[AtEqualCost, ...]

    @property
    def compared(self) -> tuple[AtEqualCost, ...]:
        """The networks that a baseline is as cheap as."""
        return tuple(row for row in self.rows if row.gain is not None)

    @property
    def num_better(self) -> int:
        """At how many networks' costs the search is better."""
        return sum(row.gain > 0 for row in self.rows if row.gain is not None)

    @property
    def best(self) -> AtEqualCost | None:
        """The network with the largest gain, which is negative where the search gained nothing."""
        return max(self.compared, key=lambda row: row.gain or 0.0, default=None)

    @property
    def short(self) -> str:
        """For the cell of a table: `3 of 4`."""
        return f"{self.num_better} of {len(self.compared)}" if self.compared else "-"

    def sentence(self) -> str:
        """What the search gained over the best baseline at equal cost, or that it gained nothing."""
        best = self.best
        if best is None or best.baseline is None:
            return (
                f"No baseline is as cheap in {self.cost} as a selected network, so nothing can be compared."
            )
        at = f"{self.cost} {best.cost:.4g}{f' {self.unit}' if self.unit else ''}"
        ours, theirs = self.metric.from_error(best.error), self.metric.from_error(best.baseline)
        pair = f"{self.metric.name} {ours:.4g} against {theirs:.4g} of the baselines"
        count = len(self.compared)
        if self.num_better:
            return (
                f"At equal {self.cost} the search gained {abs(ours - theirs):.4g} over the best baseline at {at} "
                f"({best.name}: {pair}); it is better at {self.num_better} of {count} selected networks' {self.cost}."
            )
        return (
            f"The search gained nothing over the baselines: at none of {count} selected networks' {self.cost} is it "
            f"better; nearest is {best.name} at {at}, {abs(ours - theirs):.4g} behind ({pair})."
        )

    def facts(self) -> dict[str, Any]:
        """JSON data."""
        rows = [
            {
                "name": row.name,
                "cost": row.cost,
                "error": row.error,
                "baseline": row.baseline,
                "gain": row.gain,
            }
            for row in self.rows
        ]
        about = {
            "cost": self.cost,
            "unit": self.unit,
            "metric": self.metric.name,
            "sentence": self.sentence(),
        }
        return {**about, "better": self.num_better, "compared": len(self.compared), "networks": rows}


def gain(
    selected: Sequence[Scored], baselines: Sequence[Scored], cost: str, unit: str, metric: Metric
) -> Gain | None:
    """Compare selected networks with baselines at equal cost.

    The baselines' error at a cost is interpolated linearly in the logarithm of the cost on their Pareto front; beyond
    the most expensive of them it is that of the best, which is affordable there.

    Args:
        selected: networks that the search chose, with positive costs.
        baselines: the others, with positive costs.
        cost, unit, metric: names for the sentence.

    Returns:
        None where there is no selected network or no baseline.
    """
    if not selected or not baselines:
        return None
    best = [baselines[row] for row in front(np.array([(each.cost, each.error) for each in baselines]))]
    rows = [
        AtEqualCost(each.name, each.cost, each.error, _error_at(best, each.cost))
        for each in sorted(selected, key=lambda each: each.cost)
    ]
    return Gain(cost, unit, metric, tuple(rows))


def gain_of(
    selected: Mapping[str, Any] | None,
    retrained: Mapping[str, Mapping[str, Any]],
    baselines: Mapping[str, Any] | None,
    units: Mapping[str, str],
) -> Gain | None:
    """The gain of a run, from what its files say; None without baselines or without retrained networks.

    Both sides are trained networks, scored on the validation split. The baselines are those of the longest training:
    as many steps as a selected network had in all.

    Args:
        selected: content of selected.json.
        retrained: network name -> content of its retrain/<name>/result.json.
        baselines: content of baselines/baselines.json.
        units: objective -> unit.
    """
    if not selected or not baselines:
        return None
    error = baselines["error_name"]
    costs = [{**each["objectives"], **each["costs"]} for each in baselines["networks"]]
    nets = [net for net in selected["nets"] if net["name"] in retrained]
    known = [
        name
        for name in COSTS
        if any(name in each for each in costs) and any(name in net["objectives"] for net in nets)
    ]
    if not known:
        return None
    cost = known[0]
    ours = [
        Scored(net["name"], net["objectives"][cost], retrained[net["name"]]["retrained"][error])
        for net in nets
        if cost in net["objectives"]
    ]
    theirs = [
        Scored(each["name"], found[cost], each["trained"][baselines["budget"]]["metrics"][error])
        for each, found in zip(baselines["networks"], costs, strict=True)
        if cost in found
    ]
    return gain(ours, theirs, cost, units.get(cost, ""), converted(error, _keys(baselines)))


def _keys(baselines: Mapping[str, Any]) -> set[str]:
    """Keys of the task's metrics."""
    return {
        key
        for each in baselines["networks"]
        for found in each["trained"].values()
        for key in found["metrics"]
    }


def gain_in(folder: Path) -> Gain | None:
    """The gain of the run in a folder; None where something is missing."""
    chosen, found = _json(folder / "selected.json"), _json(folder / BASELINES)
    if not chosen or not found:
        return None
    results = {
        net["name"]: (net, _json(folder / f"retrain/{net['name']}/result.json")) for net in chosen["nets"]
    }
    # results of an earlier selection of the same name do not count
    retrained = {
        name: each for name, (net, each) in results.items() if each and each["genotype"] == net["genotype"]
    }
    return gain_of(chosen, retrained, found, UNITS)


def _json(path: Path) -> Any:
    return files.read_json(path) if path.is_file() else None


def _error_at(best: Sequence[Scored], cost: float) -> float | None:
    """The error at a cost, interpolated on a Pareto front in order of cost; None below its cheapest point."""
    if cost < best[0].cost:
        return None
    for left, right in pairwise(best):
        if cost < right.cost:
            share = math.log(cost / left.cost) / math.log(right.cost / left.cost)
            return left.error + share * (right.error - left.error)
    return best[-1].error
