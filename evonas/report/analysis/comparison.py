"""Several searches side by side: one box, one front, and who is better where."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.report.analysis.indicators import Scale, indicators, scale_of
from evonas.report.metrics.pareto import Values, front
from evonas.report.results import Facts

# shares of the common front, in the order of a cost, at which errors within that cost are compared
BUDGETS = (0.25, 0.5, 0.75, 1.0)
_DEVICE = "exclusive"


@dataclass(frozen=True, slots=True)
class Side:
    """One search in a comparison.

    Args:
        points: networks whose every objective is known.
        front_size: of its own front.
        common: how many of its points are on the front of all searches together.
        hypervolume: share of the common box.
        best: the least of each objective, by name.
    """

    run: str
    points: int
    front_size: int
    common: int
    hypervolume: float
    best: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Budget:
    """The least error of each search within a cost, by run; None where nothing fits."""

    cost: str
    limit: float
    errors: Mapping[str, float | None]

    @property
    def better(self) -> str:
        """The run with the least error; empty where several share it."""
        known = {run: error for run, error in self.errors.items() if error is not None}
        winners = [run for run, error in known.items() if error == min(known.values())]
        return winners[0] if len(winners) == 1 else ""


@dataclass(frozen=True, slots=True)
class Shared:
    """A point of the front of all searches together; `runs` are those that found its values."""

    runs: Sequence[str]
    genotype: str
    objectives: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Searches side by side.

    Args:
        box: in which all hypervolumes are taken.
        is_own_box: whether every search recorded exactly this box, so that its report shows the same numbers.
        coverage: for two runs, the share of the second's front that some point of the first dominates
            (Zitzler and Thiele 1999, with strict dominance).
        warnings: what makes the comparison doubtful.
    """

    box: Scale
    is_own_box: bool
    sides: Sequence[Side]
    front: Sequence[Shared]
    coverage: Mapping[tuple[str, str], float]
    budgets: Sequence[Budget]
    warnings: Sequence[str]


def compared(runs: Mapping[str, Facts]) -> Comparison:
    """Compare what several searches found, by the name of the run.

    Raises:
        UserError: they answer different questions, or one has measured nothing yet.
    """
    for first, second in pairwise(runs):
        _require_comparable(first, runs[first], second, runs[second])
    box, is_own = common_box({name: scale_of(facts) for name, facts in runs.items()})
    together = np.concatenate([facts.values for facts in runs.values()])
    best = together[front(together)]
    return Comparison(
        box,
        is_own,
        [_side(name, facts, box, best) for name, facts in runs.items()],
        list(_shared(runs, best)),
        {(one, other): _coverage(runs[one], runs[other]) for one, other in permutations(runs, 2)},
        list(_budgets(runs, best)),
        list(_warnings(runs)),
    )


def common_box(scales: Mapping[str, Scale]) -> tuple[Scale, bool]:
    """The smallest box that holds those of all runs, and whether it is the own box of each."""
    every = list(scales.values())
    ideal = tuple(map(min, zip(*(each.ideal for each in every), strict=True)))
    reference = tuple(map(max, zip(*(each.reference for each in every), strict=True)))
    box = Scale(every[0].names, ideal, reference)
    return box, all(each == box for each in every)


def _require_comparable(first: str, one: Facts, second: str, other: Facts) -> None:
    """Numbers of two runs may stand side by side when they are of one kind, on one task."""
    sides = (one, other)
    kinds: dict[str, list[Any]] = {
        "objectives": [[facts.label(name) for name in facts.names] for facts in sides],
        "task": [facts.identity.get("task") for facts in sides],
        "joint": [facts.identity.get("joint") for facts in sides],
    }
    for what, (before, now) in kinds.items():
        if before != now:
            raise UserError(
                f"Runs '{first}' and '{second}' cannot be compared: {what} {before} and {now}.",
                "Compare searches of one task with the same objectives in the same order.",
            )


def _side(name: str, facts: Facts, box: Scale, best: Values) -> Side:
    found = indicators(facts.values, box)
    common = sum(1 for row in front(facts.values) if _is_among(facts.values[row], best))
    least = {each: float(facts.values[:, at].min()) for at, each in enumerate(facts.names)}
    return Side(name, len(facts.values), found.front_size, common, found.hypervolume, least)


def _is_among(point: Values, points: Values) -> bool:
    return bool((points == point).all(axis=1).any())


def _shared(runs: Mapping[str, Facts], best: Values) -> Iterator[Shared]:
    """The common front; of equal points the first genotype is shown, with all runs that found them."""
    for point in best:
        rows = {name: np.flatnonzero((facts.values == point).all(axis=1)) for name, facts in runs.items()}
        finders = [name for name, found in rows.items() if len(found)]
        facts = runs[finders[0]]
        row = int(rows[finders[0]][0])
        yield Shared(finders, facts.genotypes[row], facts.objectives(row))


def _coverage(one: Facts, other: Facts) -> float:
    theirs = other.values[front(other.values)]
    ours = one.values[front(one.values)]
    both = np.concatenate([ours, theirs])
    kept = moocore.is_nondominated(both, keep_weakly=True)[len(ours) :]
    return float(1 - kept.mean())


def _budgets(runs: Mapping[str, Facts], best: Values) -> Iterator[Budget]:
    names = next(iter(runs.values())).names
    for column, cost in list(enumerate(names))[1:]:
        ordered = np.sort(best[:, column])
        places = [max(int(np.ceil(share * len(ordered))) - 1, 0) for share in BUDGETS]
        for limit in dict.fromkeys(float(ordered[place]) for place in places):
            yield Budget(
                cost, limit, {name: _least(facts.values, column, limit) for name, facts in runs.items()}
            )


def _least(values: Values, column: int, limit: float) -> float | None:
    within = values[values[:, column] <= limit, 0]
    return float(within.min()) if len(within) else None


def _warnings(runs: Mapping[str, Facts]) -> Iterator[str]:
    prints = {name: facts.identity.get("fingerprints", {}) for name, facts in runs.items()}
    if len({found.get(_DEVICE) for found in prints.values()}) > 1:
        yield (
            "What is measured on the device itself, such as latency, has different fingerprints (other "
            "devices, settings or networks), so its numbers may not mean the same."
        )
    for name, facts in runs.items():
        if facts.num_failed:
            yield f"{facts.num_failed} evaluations of '{name}' failed."


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Settings that are not equal in all configs: by dotted key, the value in each, None where absent."""
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
