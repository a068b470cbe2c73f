"""Rules that select networks from a Pareto front.

`knee`; `tradeoff` or `tradeoff:<n>` (largest trade-off to the neighbours); `spread:<n>` (evenly spread);
`best:<objective>`; `asf:<objective>=<level>,...` (closest to aspiration levels); `<objective><=<number>` or
`<metric>>=<number>`, several joined by `&` (best first objective within limits). An objective goes by its own name, as
in `error<=0.4`, or by that of the metric as which people read it, as in `best:mIoU` and `mIoU>=0.6`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evonas.errors import UserError
from evonas.metric import Metric
from evonas.report.metrics.pareto import Indices, Values, front
from evonas.report.results import SearchResults
from evonas.report.selection.knee import knee, spread
from evonas.report.selection.preference import achievement, tradeoff

EXAMPLES = "knee, tradeoff:2, spread:3, best:latency, 'latency<=20&params<=5', 'mIoU>=0.6' or 'asf:error=20,flops=150'"
_LIMIT = r"([\w-]+)\s*([<>]=)\s*([^\s&]+)"
_WISH = r"([\w-]+)\s*=\s*([^\s,]+)"
# pattern of a rule -> method of `Chooser` that applies it
_RULES = {
    r"knee": "_knee",
    r"spread:([1-9]\d*)": "_spread",
    r"best:([\w-]+)": "_best",
    r"tradeoff(?::([1-9]\d*))?": "_tradeoff",
    rf"asf:\s*({_WISH}(?:\s*,\s*{_WISH})*)": "_preference",
    rf"({_LIMIT}(?:\s*&\s*{_LIMIT})*)": "_budget",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A selected point: its name, its row in the results, and the reason of the selection."""

    name: str
    row: int
    reason: str


def read_rule(rule: str) -> tuple[str, tuple[str | None, ...]]:
    """Parse a rule to a method name of `Chooser` and its arguments.

    Raises:
        UserError: the rule is invalid.
    """
    for pattern, name in _RULES.items():
        if match := re.fullmatch(pattern, rule.strip()):
            return name, match.groups()
    raise UserError(f"select.rules has an unknown rule '{rule}'.", f"Rules are {EXAMPLES}.")


def choose(results: SearchResults, rules: Sequence[str], noise: bool = False) -> list[Choice]:
    """Apply rules in order; a point that several rules select keeps its first name.

    Args:
        results: results of the search.
        rules: see the module's docstring.
        noise: whether to select among all points that are not dominated beyond their confidence intervals.

    Raises:
        UserError: there is no evaluated point, a rule is invalid, or no point fits a budget.
    """
    chooser = Chooser(results, results.front_within_noise if noise else front(results.values))
    for rule in rules:
        chooser.apply(rule)
    return chooser.chosen


class Chooser:
    """Applies rules to some rows of the results, such as their Pareto front."""

    def __init__(self, results: SearchResults, rows: Indices) -> None:
        self.results, self.rows = results, rows
        self.chosen: list[Choice] = []
        if len(self.rows) == 0:
            message = "The search has no finished evaluation to select from."
            raise UserError(
                message, f"{results.num_failed} evaluations failed; see the logs in search/workers/."
            )

    def apply(self, rule: str) -> None:
        """Apply one rule and append its selections to `chosen`."""
        name, words = read_rule(rule)
        getattr(self, name)(*words)

    @property
    def _values(self) -> Values:
        return self.results.values[self.rows]

    def _knee(self) -> None:
        self._add("knee", knee(self._values), "the knee of the front")

    def _spread(self, count: str) -> None:
        taken = [int(np.flatnonzero(self.rows == choice.row)[0]) for choice in self.chosen]
        for number, place in enumerate(sorted(spread(self._values, int(count), taken)), start=1):
            self._add(f"spread{number}", place, "far from the other choices along the front")

    def _best(self, name: str) -> None:
        values, metric = self._read(name)
        place = np.argmax(values) if metric.higher_is_better else np.argmin(values)
        self._add(f"best_{name}", int(place), f"the best {name}")

    def _tradeoff(self, count: str | None) -> None:
        worth = np.round(tradeoff(self._values), 12)
        # of equal trade-offs the later point, which is better in the other objectives
        best = np.argsort(worth, kind="stable")[::-1][: int(count or 1)]
        for number, place in enumerate(best, start=1):
            name = "tradeoff" if count is None else f"tradeoff{number}"
            self._add(name, int(place), "its neighbours give up most for what they gain")

    def _preference(self, wishes: str, *_parts: str) -> None:
        weights = np.full(len(self.results.names), np.inf)
        for name, text in re.findall(_WISH, wishes):
            _, metric = self._read(name)
            level = metric.to_error(_number(text))
            if not 0 < level < np.inf:
                limits = (
                    "between 0 and 1"
                    if metric.higher_is_better and not metric.unit
                    else "positive and finite"
                )
                raise UserError(
                    f"An aspiration level in select.rules must be {limits}, got {name}={text}.",
                    "Example: select.rules=['asf:error=20,flops=150']",
                )
            weights[self.results.column(name)] = level
        place = int(np.argmin(np.round(achievement(self._values, weights), 12)))
        self._add("asf", place, f"nearest to the wish {wishes}")

    def _budget(self, budget: str, *_parts: str) -> None:
        budget, fits = "".join(budget.split()), np.ones(len(self.rows), dtype=bool)
        for name, relation, text in re.findall(_LIMIT, budget):
            (values, metric), limit = self._read(name), _number(text)
            wanted = ">=" if metric.higher_is_better else "<="
            if relation != wanted:
                message = f"select.rules limits {name} from the wrong side: of {name}, {metric.direction}."
                raise UserError(message, f"Write '{name}{wanted}{text}'.")
            within = values >= limit if metric.higher_is_better else values <= limit
            if not within.any():
                raise _too_tight(name, metric, text, metric.best(values))
            fits &= within
        if not fits.any():
            message = f"No network fits all of the budget {budget}, though each limit alone can be met."
            raise UserError(message, "Allow more of one of them.")
        place = int(np.argmin(np.where(fits, self._values[:, 0], np.inf)))
        self._add("budget", place, f"the best {self.results.metrics[0].name} with {budget}")

    def _read(self, name: str) -> tuple[Values, Metric]:
        """The metric that a rule names, minimised or as people read it, and its values in the rows."""
        column = self.results.column(name)
        if name in self.results.names:
            return self._values[:, column], Metric(name, unit=self.results.units.get(name, ""))
        return self.results.shown[self.rows, column], self.results.metrics[column]

    def _add(self, name: str, place: int, reason: str) -> None:
        row = int(self.rows[place])
        for number, other in enumerate(self.chosen):
            if other.row == row:
                self.chosen[number] = replace(other, reason=f"{other.reason}; also {reason}")
                return
        taken = {choice.name for choice in self.chosen}
        names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
        self.chosen.append(Choice(next(free for free in names if free not in taken), row, reason))


def _too_tight(name: str, metric: Metric, text: str, best: float) -> UserError:
    relation, most, factor = (">=", "largest", 0.95) if metric.higher_is_better else ("<=", "smallest", 1.05)
    message = f"No network fits the budget {name}{relation}{text}: the {most} {name} found is {best:.4g}."
    return UserError(
        message, f"Allow more, for instance: \"select.rules=['{name}{relation}{best * factor:.3g}']\""
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"A limit in select.rules must be a number, got '{text}'.", f"Rules are {EXAMPLES}."
        ) from None
