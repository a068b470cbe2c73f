"""Rules that choose networks from a front.

`knee`; `tradeoff` or `tradeoff:<n>` (neighbours give up most for what they gain); `spread:<n>`;
`best:<objective>`; `asf:<objective>=<wish>,...` (nearest to wished values, named so that their order does not
matter); `<objective><=<number>`, several joined by `&` (the best error within a budget).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evonas.errors import UserError
from evonas.report.metrics.pareto import Indices, Values, front
from evonas.report.results import Facts
from evonas.report.selection.knee import knee, spread
from evonas.report.selection.preference import achievement, tradeoff

EXAMPLES = "knee, tradeoff:2, spread:3, best:latency, 'latency<=20&params<=5' or 'asf:error=20,flops=150'"
_LIMIT = r"(\w+)\s*<=\s*([^\s&]+)"
_WISH = r"(\w+)\s*=\s*([^\s,]+)"
# what a rule looks like, and the method of `Chooser` that follows it
_RULES = {
    r"knee": "_knee",
    r"spread:([1-9]\d*)": "_spread",
    r"best:(\w+)": "_best",
    r"tradeoff(?::([1-9]\d*))?": "_tradeoff",
    rf"asf:\s*({_WISH}(?:\s*,\s*{_WISH})*)": "_preference",
    rf"({_LIMIT}(?:\s*&\s*{_LIMIT})*)": "_budget",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen point: what to call it, its row among the facts, and why it was chosen."""

    name: str
    row: int
    reason: str


def read_rule(rule: str) -> tuple[str, tuple[str | None, ...]]:
    """Which method of `Chooser` follows a rule, and what the rule gives it.

    Raises:
        UserError: it cannot be read.
    """
    for pattern, name in _RULES.items():
        if match := re.fullmatch(pattern, rule.strip()):
            return name, match.groups()
    raise UserError(f"select.rules has '{rule}', which is no rule.", f"Rules are {EXAMPLES}.")


def choose(facts: Facts, rules: Sequence[str], noise: bool = False) -> list[Choice]:
    """Apply the rules in their order; a point that two rules choose keeps its first name.

    Args:
        facts: what the search found.
        rules: see the module.
        noise: choose among all points that no other beats beyond the noise of what was measured.

    Raises:
        UserError: there is nothing to choose from, a rule cannot be read, or nothing fits a budget.
    """
    chooser = Chooser(facts, facts.front_within_noise if noise else front(facts.values))
    for rule in rules:
        chooser.apply(rule)
    return chooser.chosen


class Chooser:
    """Applies rules one after another to some rows of the facts, such as their front."""

    def __init__(self, facts: Facts, rows: Indices) -> None:
        self.facts, self.rows = facts, rows
        self.chosen: list[Choice] = []
        if len(self.rows) == 0:
            message = "The search has no finished evaluation, so there is nothing to choose from."
            raise UserError(
                message, f"{facts.num_failed} evaluations failed; see the logs in search/workers/."
            )

    def apply(self, rule: str) -> None:
        """Add what one rule chooses."""
        name, words = read_rule(rule)
        getattr(self, name)(*words)

    @property
    def _values(self) -> Values:
        return self.facts.values[self.rows]

    def _knee(self) -> None:
        self._add("knee", knee(self._values), "the knee of the front")

    def _spread(self, count: str) -> None:
        taken = [int(np.flatnonzero(self.rows == choice.row)[0]) for choice in self.chosen]
        for number, place in enumerate(sorted(spread(self._values, int(count), taken)), start=1):
            self._add(f"spread{number}", place, "far from the other choices along the front")

    def _best(self, name: str) -> None:
        column = self.facts.column(name)
        self._add(f"best_{name}", int(np.argmin(self._values[:, column])), f"the best {name}")

    def _tradeoff(self, count: str | None) -> None:
        worth = np.round(tradeoff(self._values), 12)
        # of equals the later one, which is cheaper in the other objectives
        best = np.argsort(worth, kind="stable")[::-1][: int(count or 1)]
        for number, place in enumerate(best, start=1):
            name = "tradeoff" if count is None else f"tradeoff{number}"
            self._add(name, int(place), "its neighbours give up most for what they gain")

    def _preference(self, wishes: str, *_parts: str) -> None:
        weights = np.full(len(self.facts.names), np.inf)
        for name, wish in re.findall(_WISH, wishes):
            weights[self.facts.column(name)] = _positive(name, wish)
        place = int(np.argmin(np.round(achievement(self._values, weights), 12)))
        self._add("asf", place, f"nearest to the wish {wishes}")

    def _budget(self, budget: str, *_parts: str) -> None:
        budget, fits = "".join(budget.split()), np.ones(len(self.rows), dtype=bool)
        for name, limit in re.findall(_LIMIT, budget):
            column, most = self._values[:, self.facts.column(name)], _number(limit)
            if column.min() > most:
                raise _too_tight(name, limit, float(column.min()))
            fits &= column <= most
        if not fits.any():
            message = f"No network fits all of the budget {budget}, though each limit alone can be met."
            raise UserError(message, "Allow more of one of them.")
        place = int(np.argmin(np.where(fits, self._values[:, 0], np.inf)))
        self._add("budget", place, f"the best {self.facts.names[0]} with {budget}")

    def _add(self, name: str, place: int, reason: str) -> None:
        row = int(self.rows[place])
        for number, other in enumerate(self.chosen):
            if other.row == row:
                self.chosen[number] = replace(other, reason=f"{other.reason}; also {reason}")
                return
        taken = {choice.name for choice in self.chosen}
        names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
        self.chosen.append(Choice(next(free for free in names if free not in taken), row, reason))


def _too_tight(name: str, limit: str, least: float) -> UserError:
    message = f"No network fits the budget {name}<={limit}: the smallest {name} found is {least:.4g}."
    return UserError(message, f"Allow more, for instance: \"select.rules=['{name}<={least * 1.05:.3g}']\"")


def _positive(name: str, text: str) -> float:
    wish = _number(text)
    if not 0 < wish < np.inf:
        raise UserError(f"select.rules wishes {name}={text}.", "A wish is a finite number above zero.")
    return wish


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"select.rules has the limit '{text}', which is no number.", f"Rules are {EXAMPLES}."
        ) from None
