"""Comparison of several searches: hypervolume, common front, coverage, errors within budgets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from types import MappingProxyType
from typing import Any

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.metric import Metric
from evonas.report.analysis.indicators import Scale, indicators, scale_of
from evonas.report.metrics.pareto import Values, front
from evonas.report.results import SearchResults, doubts

# quantiles of a cost over the common front that serve as budgets
BUDGETS = (0.25, 0.5, 0.75, 1.0)
_DEVICE = "exclusive"


@dataclass(frozen=True, slots=True)
class Side:
    """Summary of one search in a comparison.

    Args:
        points: number of evaluated points.
        front_size: number of points of its own front.
        common: number of its points on the common front.
        hypervolume: normalised to the common box.
        best: objective name -> smallest value.
        best_metrics: name of the metric as which people read an objective -> best value.
    """

    run: str
    points: int
    front_size: int
    common: int
    hypervolume: float
    best: Mapping[str, float]
    best_metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Budget:
    """Smallest error and best metric of each run within a cost budget; None if no point of the run fits."""

    cost: str
    limit: float
    errors: Mapping[str, float | None]
    metrics: Mapping[str, float | None]

    @property
    def better(self) -> str:
        """Run with the smallest error; empty for a tie."""
        known = {run: error for run, error in self.errors.items() if error is not None}
        winners = [run for run, error in known.items() if error == min(known.values())]
        return winners[0] if len(winners) == 1 else ""


@dataclass(frozen=True, slots=True)
class Shared:
    """A point of the common front; `runs` are the runs that found its values.

    Args:
        objectives: objective name -> value.
        metrics: the same as people read them, by the names of the metrics.
        doubtful: names of the objectives whose values are no measurements.
    """

    runs: Sequence[str]
    genotype: str
    objectives: Mapping[str, float]
    metrics: Mapping[str, float]
    doubtful: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """Comparison of several searches.

    Args:
        metrics: how people read each objective.
        box: common box of the hypervolumes.
        is_own_box: whether each search recorded this box itself, so that its report shows the same numbers.
        coverage: (first run, second run) -> fraction of the second's front that the first dominates (Zitzler
            and Thiele 1999, with strict dominance).
        warnings: reasons to distrust the comparison.
    """

    metrics: Sequence[Metric]
    box: Scale
    is_own_box: bool
    sides: Sequence[Side]
    front: Sequence[Shared]
    coverage: Mapping[tuple[str, str], float]
    budgets: Sequence[Budget]
    warnings: Sequence[str]


def compared(
    runs: Mapping[str, SearchResults], runtimes: Mapping[str, str] = MappingProxyType({})
) -> Comparison:
    """Compare the results of several searches.

    A latency that was measured on another device, by another runtime or with other threads is another quantity: it is
    left out of fronts and hypervolumes, with a warning.

    Args:
        runs: run name -> results.
        runtimes: run name -> runtime of its latencies, for archives that do not record it.

    Raises:
        UserError: tasks or objectives differ, a run has no evaluation yet, or fewer than two objectives were measured
            alike.
    """
    for first, second in pairwise(runs):
        _require_comparable(first, runs[first], second, runs[second])
    apart = _measured_apart(runs, runtimes)
    shared = [name for name in next(iter(runs.values())).names if name not in apart]
    if apart and len(shared) < 2:
        raise UserError(
            f"Only {' and '.join(shared) or 'nothing'} can be compared: {'; '.join(apart.values())}.",
            "Compare runs whose latency was measured on one device by one runtime with as many threads.",
        )
    runs = {name: results.restricted(shared) if apart else results for name, results in runs.items()}
    box, is_own = common_box({name: scale_of(results) for name, results in runs.items()})
    together = np.concatenate([results.values for results in runs.values()])
    best = together[front(together)]
    return Comparison(
        next(iter(runs.values())).metrics,
        box,
        is_own,
        [_side(name, results, box, best) for name, results in runs.items()],
        list(_shared(runs, best)),
        {(one, other): _coverage(runs[one], runs[other]) for one, other in permutations(runs, 2)},
        list(_budgets(runs, best)),
        [*(f"{text}; it is left out of this comparison." for text in apart.values()), *_warnings(runs)],
    )


def _measured_apart(runs: Mapping[str, SearchResults], runtimes: Mapping[str, str]) -> dict[str, str]:
    """Objectives that were measured under known, different conditions: name -> how, as a sentence without its end."""
    found = {}
    for name in next(iter(runs.values())).names:
        conditions = {run: _conditions(results, name, runtimes.get(run, "")) for run, results in runs.items()}
        for key in sorted({key for each in conditions.values() for key in each}):
            values = {run: each[key] for run, each in conditions.items() if each.get(key)}
            if len(set(values.values())) > 1:
                told = ", ".join(f"{value} in '{run}'" for run, value in values.items())
                found[name] = f"{name} was measured with different {key} ({told})"
                break
    return found


def _conditions(results: SearchResults, name: str, runtime: str) -> dict[str, str]:
    """What the values of a measured or predicted objective depend on besides the network; empty where unknown."""
    keys = ("runtime", "devices", "threads", "precision", "batch")
    found: dict[str, set[str]] = {key: set() for key in keys}
    for extra in results.extras:
        source, timed = extra.get(f"{name}_source"), extra.get(name)
        if isinstance(source, Mapping):
            found["runtime"].add(f"a prediction for {source.get('machine', 'a machine')}")
        elif isinstance(timed, Mapping):
            # latencies of devices elsewhere have them with them
            device = timed.get("device") or extra.get("device")
            about = device if isinstance(device, Mapping) else {}
            # recorded with its version since archives are sealed
            recorded = timed.get("runtime") or runtime
            found["runtime"].add(str(recorded[0] if isinstance(recorded, list) else recorded))
            found["devices"].add(" ".join(str(about[key]) for key in ("type", "name") if about.get(key)))
            for key in ("threads", "precision", "batch"):
                found[key].add(str(timed.get(key) or ""))
    return {key: " and ".join(sorted(filter(None, values))) for key, values in found.items()}


def common_box(scales: Mapping[str, Scale]) -> tuple[Scale, bool]:
    """The smallest box that contains the boxes of all runs, and whether all boxes are equal."""
    every = list(scales.values())
    ideal = tuple(map(min, zip(*(each.ideal for each in every), strict=True)))
    reference = tuple(map(max, zip(*(each.reference for each in every), strict=True)))
    box = Scale(every[0].names, ideal, reference)
    return box, all(each == box for each in every)


def _require_comparable(first: str, one: SearchResults, second: str, other: SearchResults) -> None:
    """Raise a UserError unless two runs have the same task and objectives."""
    sides = (one, other)
    kinds: dict[str, list[Any]] = {
        "objectives": [
            [f"{name} ({unit})" if (unit := results.units.get(name)) else name for name in results.names]
            for results in sides
        ],
        "task": [results.identity.get("task") for results in sides],
        "joint": [results.identity.get("joint") for results in sides],
    }
    for what, (before, now) in kinds.items():
        if before != now:
            raise UserError(
                f"Runs '{first}' and '{second}' cannot be compared: {what} {before} and {now}.",
                "Compare searches of one task with the same objectives in the same order.",
            )


def _side(name: str, results: SearchResults, box: Scale, best: Values) -> Side:
    found = indicators(results.values, box)
    common = sum(1 for row in front(results.values) if (best == results.values[row]).all(axis=1).any())
    least = dict(zip(results.names, map(float, results.values.min(axis=0)), strict=True))
    metrics = {
        metric.name: metric.best(column)
        for metric, column in zip(results.metrics, results.shown.T, strict=True)
    }
    return Side(name, len(results.values), found.front_size, common, found.hypervolume, least, metrics)


def _shared(runs: Mapping[str, SearchResults], best: Values) -> Iterator[Shared]:
    """The common front; equal points are merged under the first genotype, with all runs that found them."""
    for point in best:
        rows = {name: np.flatnonzero((results.values == point).all(axis=1)) for name, results in runs.items()}
        finders = [name for name, found in rows.items() if len(found)]
        results = runs[finders[0]]
        row = int(rows[finders[0]][0])
        text = results.genotypes[row]
        yield Shared(
            finders, text, results.objectives(row), results.readings(row), results.doubtful.get(text, ())
        )


def _coverage(one: SearchResults, other: SearchResults) -> float:
    theirs = other.values[front(other.values)]
    ours = one.values[front(one.values)]
    both = np.concatenate([ours, theirs])
    kept = moocore.is_nondominated(both, keep_weakly=True)[len(ours) :]
    return float(1 - kept.mean())


def _budgets(runs: Mapping[str, SearchResults], best: Values) -> Iterator[Budget]:
    names = next(iter(runs.values())).names
    for column, cost in list(enumerate(names))[1:]:
        ordered = np.sort(best[:, column])
        places = [max(int(np.ceil(share * len(ordered))) - 1, 0) for share in BUDGETS]
        for limit in dict.fromkeys(float(ordered[place]) for place in places):
            within = {name: results.values[:, column] <= limit for name, results in runs.items()}
            errors = {
                name: float(runs[name].values[fits, 0].min()) if fits.any() else None
                for name, fits in within.items()
            }
            metrics = {
                name: runs[name].metrics[0].best(runs[name].shown[fits, 0]) if fits.any() else None
                for name, fits in within.items()
            }
            yield Budget(cost, limit, errors, metrics)


def _warnings(runs: Mapping[str, SearchResults]) -> Iterator[str]:
    prints = {name: results.identity.get("fingerprints", {}) for name, results in runs.items()}
    if len({found.get(_DEVICE) for found in prints.values()}) > 1:
        yield (
            "Objectives measured on the device, such as latency, have different fingerprints (devices, settings "
            "or networks differ), so their values may not be comparable."
        )
    for name, results in runs.items():
        yield from (f"'{name}': {sentence}" for sentence in doubts(results))
        if results.num_failed:
            yield f"{results.num_failed} evaluations of '{name}' failed."


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Settings that differ between configs: dotted key -> config name -> value, None where absent."""
    flat = {name: dict(_flat(config)) for name, config in configs.items()}
    keys = sorted({key for found in flat.values() for key in found})
    rows = {key: {name: found.get(key) for name, found in flat.items()} for key in keys}
    return {
        key: row for key, row in rows.items() if any(value != row[next(iter(row))] for value in row.values())
    }


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from _flat(child, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix("."), node
