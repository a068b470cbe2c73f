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
from evonas.errors import DamagedError
from evonas.metric import Metric, converted
from evonas.report.metrics.pareto import front
from evonas.report.selection.record import read_selection

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
        baseline: the baselines' error at this cost. A network that is cheaper than every baseline is compared with
            the cheapest one if it errs no more, and else with none: None.
    """

    name: str
    cost: float
    error: float
    baseline: float | None

    @property
    def gain(self) -> float | None:
        """How much less the network errs than the baselines; None where nothing can be compared."""
        return None if self.baseline is None else self.baseline - self.error


@dataclass(frozen=True, slots=True)
class Gain:
    """What the selected networks gained over the baselines.

    Args:
        cost: name of the cost objective.
        unit: unit of the cost.
        metric: how people read the error.
        rows: the selected networks in order of cost.
        cheapest: of the baselines on their Pareto front.
    """

    cost: str
    unit: str
    metric: Metric
    rows: tuple[AtEqualCost, ...]
    cheapest: Scored

    @property
    def compared(self) -> tuple[AtEqualCost, ...]:
        """The networks that can be compared."""
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
        """What the search gained over the best baseline at equal cost, or that it gained nothing.

        Networks that are cheaper and err more than every baseline are told apart, since neither side is better.
        """
        return " ".join(each for each in (self._compared_sentence(), self._cheaper_sentence()) if each)

    def _compared_sentence(self) -> str:
        best = self.best
        if best is None or best.baseline is None:
            return ""
        at = f"{self.cost} {self._costs(best.cost)}"
        ours, theirs = self.metric.from_error(best.error), self.metric.from_error(best.baseline)
        pair = f"{self.metric.name} {ours:.4g} against {theirs:.4g} of the baselines"
        count = len(self.compared)
        if self.num_better:
            return (
                f"At equal {self.cost} the search gained {abs(ours - theirs):.4g} over the best baseline at {at} "
                f"({best.name}: {pair}); it is better at {self.num_better} of {count} selected networks' {self.cost}."
            )
        behind = f"{abs(ours - theirs):.4g} behind" if best.gain else "as good"
        return (
            f"The search gained nothing over the baselines at equal {self.cost}: of {count} compared networks "
            f"{best.name} at {at} is nearest, {behind} ({pair})."
        )

    def _cheaper_sentence(self) -> str:
        cheaper = [row for row in self.rows if row.gain is None]
        if not cheaper:
            return ""
        nearest, cheapest = cheaper[-1], self.cheapest
        ours, theirs = self.metric.from_error(nearest.error), self.metric.from_error(cheapest.error)
        count = len(cheaper) - 1
        more = f", and so {'is' if count == 1 else 'are'} {count} more" if count else ""
        return (
            f"{nearest.name} is cheaper than every baseline, {self._costs(nearest.cost)} at {self.metric.name} "
            f"{ours:.4g} against {self._costs(cheapest.cost)} at {theirs:.4g} of {cheapest.name}{more}."
        )

    def _costs(self, cost: float) -> str:
        return f"{cost:.4g} {self.unit}".rstrip()

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
    the most expensive of them it is that of the best, which is affordable there. Below the cheapest of them a network
    that errs no more than it beats it at less cost; one that errs more is not compared.

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
        AtEqualCost(each.name, each.cost, each.error, _error_beside(best, each))
        for each in sorted(selected, key=lambda each: each.cost)
    ]
    return Gain(cost, unit, metric, tuple(rows), best[0])


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
        Scored(net["name"], float(net["objectives"][cost]), float(retrained[net["name"]]["retrained"][error]))
        for net in nets
        # a network whose outputs are not finite has no score
        if cost in net["objectives"] and retrained[net["name"]]["retrained"][error] is not None
    ]
    theirs = [
        Scored(
            each["name"], float(found[cost]), float(each["trained"][baselines["budget"]]["metrics"][error])
        )
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


def gain_in(folder: Path, inputs: Path | None = None) -> Gain | None:
    """The gain of the run in a folder; None where something is missing.

    Args:
        inputs: of the run whose results are taken where this one has none.

    Raises:
        DamagedError: a file of its baselines or retrained networks has another content than evonas writes.
        DataError: selected.json is not what the archive says.
    """

    def place(relative: str) -> Path | None:
        bases = (base for base in (folder, inputs) if base is not None and (base / relative).is_file())
        path = next(bases, None)
        return None if path is None else path / relative

    def read(relative: str) -> Any:
        path = place(relative)
        return None if path is None else files.read_json(path)

    path, found = place("selected.json"), read(BASELINES)
    if path is None or not found:
        return None
    chosen = read_selection(path, place("search/archive.sqlite"))
    results = {net["name"]: (net, read(f"retrain/{net['name']}/result.json")) for net in chosen["nets"]}
    try:
        # results of an earlier selection of the same name do not count
        retrained = {
            name: each
            for name, (net, each) in results.items()
            if each and each["genotype"] == net["genotype"]
        }
        return gain_of(chosen, retrained, found, UNITS)
    except files.SHAPES as error:
        raise DamagedError(
            f"The results of baselines and retrained networks in {folder} are damaged: {error!r:.200}.",
            "Restore them from a copy, or let stage=retrain and stage=baselines make them again.",
        ) from error


def _error_beside(best: Sequence[Scored], network: Scored) -> float | None:
    """The error of a Pareto front, given in order of cost, that a network is compared with; None for none."""
    if network.cost < best[0].cost:
        return best[0].error if network.error <= best[0].error else None
    for left, right in pairwise(best):
        if network.cost < right.cost:
            share = math.log(network.cost / left.cost) / math.log(right.cost / left.cost)
            return left.error + share * (right.error - left.error)
    return best[-1].error
