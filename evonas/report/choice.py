"""Rules that choose networks from a front: knee, spread:<n>, best:<objective>, '<objective><=<number>'."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evonas.errors import UserError
from evonas.report.facts import Facts
from evonas.report.knee import knee, spread
from evonas.report.pareto import Values, front

EXAMPLES = "knee, spread:3, best:latency or 'latency<=20'"


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen point: what to call it, its row among the facts, and why it was chosen."""

    name: str
    row: int
    reason: str


def choose(facts: Facts, rules: Sequence[str]) -> list[Choice]:
    """Apply the rules in their order; a point that two rules choose keeps its first name.

    Raises:
        UserError: there is nothing to choose from, a rule cannot be read, or nothing fits a budget.
    """
    chooser = Chooser(facts)
    for rule in rules:
        chooser.apply(rule)
    return chooser.chosen


class Chooser:
    """Applies rules one after another to the front of some facts."""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.rows = facts, front(facts.values)
        self.chosen: list[Choice] = []
        if len(self.rows) == 0:
            message = "The search has no finished evaluation, so there is nothing to choose from."
            raise UserError(
                message, f"{facts.num_failed} evaluations failed; see the logs in search/workers/."
            )

    def apply(self, rule: str) -> None:
        """Add what one rule chooses."""
        methods: dict[str, Callable[..., None]] = {
            r"knee": self._knee,
            r"spread:([1-9]\d*)": self._spread,
            r"best:(\w+)": self._best,
            r"(\w+)\s*<=\s*(\S+)": self._budget,
        }
        for pattern, method in methods.items():
            if match := re.fullmatch(pattern, rule.strip()):
                return method(*match.groups())
        raise UserError(f"select.rules has '{rule}', which is no rule.", f"Rules are {EXAMPLES}.")

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

    def _budget(self, name: str, limit: str) -> None:
        column, most = self._values[:, self.facts.column(name)], _number(limit)
        if column.min() > most:
            least = float(column.min())
            message = f"No network fits the budget {name}<={limit}: the smallest {name} found is {least:.4g}."
            raise UserError(
                message, f"Allow more, for instance: \"select.rules=['{name}<={least * 1.05:.3g}']\""
            )
        place = int(np.argmin(np.where(column <= most, self._values[:, 0], np.inf)))
        self._add("budget", place, f"the best {self.facts.names[0]} with {name}<={limit}")

    def _add(self, name: str, place: int, reason: str) -> None:
        row = int(self.rows[place])
        for number, other in enumerate(self.chosen):
            if other.row == row:
                self.chosen[number] = replace(other, reason=f"{other.reason}; also {reason}")
                return
        taken = {choice.name for choice in self.chosen}
        names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
        self.chosen.append(Choice(next(free for free in names if free not in taken), row, reason))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"select.rules has the limit '{text}', which is no number.", f"Rules are {EXAMPLES}."
        ) from None
