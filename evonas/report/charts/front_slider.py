"""How the front moved: one layer a moment of the search, which a slider shows one at a time.

Without a script all layers lie over each other, the last one strongest, so that nothing is hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evonas.report.analysis.snapshots import Moment, moments
from evonas.report.charts.plots import Figure
from evonas.report.charts.svg import Axis, Chart
from evonas.report.metrics.pareto import Indices, front
from evonas.report.results import Facts

MOST_FRAMES = 24
# marks of one layer; a longer front is drawn as a line with some of its points
MOST_MARKS = 60


@dataclass(frozen=True)
class Evolution:
    """The layered charts of every pair of objectives, and what each layer is called."""

    labels: Sequence[str]
    figures: Sequence[Figure]


def evolution(facts: Facts) -> Evolution | None:
    """The fronts over the search; None where there is one moment or one objective."""
    shown = moments(facts, MOST_FRAMES)
    if len(shown) < 2 or len(facts.names) < 2:
        return None
    pairs = [(x, y) for y, x in combinations(range(len(facts.names)), 2)]
    known = _fronts(facts, shown)
    labels = [f"{moment.label}: {len(rows)} on the front" for moment, rows in zip(shown, known, strict=True)]
    return Evolution(labels, [_layers(facts, known, x, y) for x, y in pairs])


def _fronts(facts: Facts, shown: Sequence[Moment]) -> list[Indices]:
    """Rows of the front at each moment; what left it never comes back."""
    found: list[Indices] = []
    best, done = np.empty(0, dtype=np.intp), 0
    for moment in shown:
        rows = np.concatenate([best, np.arange(done, moment.count)])
        best, done = rows[front(facts.values[rows])], moment.count
        found.append(best)
    return found


def _layers(facts: Facts, known: Sequence[Indices], x: int, y: int) -> Figure:
    ever = np.unique(np.concatenate(known))
    across, up = facts.values[:, x], facts.values[:, y]
    names = facts.names[x], facts.names[y]
    chart = Chart(
        Axis.over(facts.label(names[0]), across[ever]),
        Axis.over(facts.label(names[1]), up[ever]),
        f"How the front of {names[1]} against {names[0]} moved over {len(known)} moments of the search",
    )
    for number, rows in enumerate(known):
        with chart.layer(number, is_last=number == len(known) - 1):
            edge = rows[front(facts.values[rows][:, [x, y]])]
            chart.line(across[edge], up[edge], "s0", step=True)
            few = rows[np.unique(np.linspace(0, len(rows) - 1, MOST_MARKS).astype(int))]
            chart.dots(across[few], up[few])
    return Figure(chart.render(), f"{names[1]} against {names[0]}; the front moves to the lower left.")
