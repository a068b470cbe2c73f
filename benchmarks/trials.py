"""One searcher against one evaluator, in memory, and what many such trials say together."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from evonas import files, schema
from evonas.cli import conf_dir
from evonas.evaluate.engine import EvaluatorLike
from evonas.evaluate.measure import Failure, attempt
from evonas.report.analysis.indicators import Scale
from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.pareto import Values, front
from evonas.search.base import Observation
from evonas.space.space import Space
from evonas.stages.search import build_searcher


@dataclass(frozen=True)
class Trial:
    """What one method found on one problem with one seed.

    Args:
        values: objectives of the measured points, in the order asked.
        numbers: how many points had been asked when each of them was measured, from 1.
        asked: points asked in all; they are distinct.
        failures: reasons of points without numbers.
        seconds: of the whole trial, most of them the searcher's own.
    """

    problem: str
    method: str
    seed: int
    values: Values
    numbers: Sequence[int]
    asked: int
    failures: Sequence[str]
    seconds: float


@cache
def composed(*overrides: str) -> Any:
    """The config that these overrides give, as on the command line."""
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier command left, or what is made now."""
    if not path.exists():
        files.write_json(path, make())
    found: dict[str, Any] = files.read_json(path)
    return found


def run(
    about: tuple[str, str, int], node: Any, space: Space, evaluator: EvaluatorLike, names: Sequence[str]
) -> Trial:
    """Ask, measure, tell, until the searcher has nothing more to ask.

    Args:
        about: problem, method and seed.
        node: config of the searcher.
        names: the objectives in order.
    """
    began, seen = time.monotonic(), set[str]()
    asking, values, numbers, failures = build_searcher(node, space, about[2], names), [], [], []
    while asked := asking.ask():
        told = []
        for point in asked:
            text = space.format(point)
            answer = attempt(evaluator, point, "shared")
            seen.add(text)
            if isinstance(answer, Failure):
                told.append(Observation(point, None))
                failures.append(answer.reason)
                continue
            found = tuple(answer.objectives[name] for name in names)
            told.append(Observation(point, found))
            values.append(found)
            numbers.append(len(seen))
        asking.tell(told)
    points = np.array(values, dtype=float).reshape(-1, len(names))
    return Trial(*about, points, numbers, len(seen), failures, time.monotonic() - began)


def worth(trial: Trial, scale: Scale | None) -> Values:
    """The curve of a trial: share of the scale's box after each point, or the least first objective."""
    curve = np.full(trial.asked, np.nan)
    best = trial.values[:0]
    for number, point in zip(trial.numbers, trial.values, strict=True):
        if scale is None:
            best = point[None] if not len(best) or point[0] < best[0, 0] else best
            curve[number - 1] = best[0, 0]
        elif not (best <= point).all(axis=1).any():
            best = np.concatenate([best, point[None]])
            best = best[front(best)]
            curve[number - 1] = hypervolume(best, scale.reference, scale.ideal)
    return _filled(curve, 0.0 if scale is not None else np.nan)


def _filled(curve: Values, start: float) -> Values:
    for place in range(len(curve)):
        if np.isnan(curve[place]):
            curve[place] = curve[place - 1] if place else start
    return curve


def needed(curve: Values, target: float) -> float:
    """How many points were asked until a rising curve reached the target; infinity if it never did."""
    reached = np.flatnonzero(curve >= target - 1e-12)
    return float(reached[0] + 1) if len(reached) else np.inf


def spread_of(numbers: Sequence[float], show: Callable[[float], str]) -> str:
    """Mean and standard deviation over seeds."""
    array = np.array(numbers, dtype=float)
    deviation = array.std(ddof=1) if len(array) > 1 else 0.0
    return f"{show(float(array.mean()))} +- {show(float(deviation))}"


def spread_at(curves: Sequence[Values], count: int, show: Callable[[float], str]) -> str:
    """The spread after so many points, or a dash where some seed asked fewer."""
    if any(len(curve) < count for curve in curves):
        return "-"
    return spread_of([curve[count - 1] for curve in curves], show)


def median_of(numbers: Sequence[float], limit: int) -> str:
    """Median and range over seeds of counts that may be infinite, which are beyond the limit."""
    ordered = sorted(numbers)
    # with an even count the worse of the two in the middle, so that no average hides a failure
    middle = ordered[len(ordered) // 2]
    return f"{_count(middle, limit)} ({_count(ordered[0], limit)} to {_count(ordered[-1], limit)})"


def _count(number: float, limit: int) -> str:
    return f">{limit}" if np.isinf(number) else f"{number:.0f}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def by_method(trials: Sequence[Trial]) -> Mapping[str, list[Trial]]:
    """Trials of each method, methods in the order of their first trial."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.method, []).append(trial)
    return groups
