"""Pareto front over the search: one chart layer per snapshot, which a slider shows one at a time.

Without JavaScript all layers are visible, the last one most strongly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evonas.report.analysis.snapshots import Snapshot, snapshots
from evonas.report.charts.plots import Figure, axis_over, best_corner
from evonas.report.charts.svg import Chart
from evonas.report.metrics.pareto import Indices, front
from evonas.report.results import SearchResults

MAX_FRAMES = 24
# marks per layer; a larger front is drawn as a line with some of its points
MAX_MARKS = 60


@dataclass(frozen=True)
class FrontSlider:
    """Layered charts of every pair of objectives, and the label of each layer."""

    labels: Sequence[str]
    figures: Sequence[Figure]


def front_slider(results: SearchResults) -> FrontSlider | None:
    """Fronts over the search; None with a single snapshot or objective."""
    shown = snapshots(results, MAX_FRAMES)
    if len(shown) < 2 or len(results.names) < 2:
        return None
    pairs = [(x, y) for y, x in combinations(range(len(results.names)), 2)]
    known = _fronts(results, shown)
    labels = [
        f"{snapshot.label}: {len(rows)} on the front" for snapshot, rows in zip(shown, known, strict=True)
    ]
    return FrontSlider(labels, [_layers(results, known, x, y) for x, y in pairs])


def _fronts(results: SearchResults, shown: Sequence[Snapshot]) -> list[Indices]:
    """Rows of the front at each snapshot."""
    found: list[Indices] = []
    best, done = np.empty(0, dtype=np.intp), 0
    for snapshot in shown:
        rows = np.concatenate([best, np.arange(done, snapshot.count)])
        best, done = rows[front(results.values[rows])], snapshot.count
        found.append(best)
    return found


def _layers(results: SearchResults, known: Sequence[Indices], x: int, y: int) -> Figure:
    ever = np.unique(np.concatenate(known))
    across, up = results.shown[:, x], results.shown[:, y]
    metrics = results.metrics[x], results.metrics[y]
    title = f"{metrics[1].name} against {metrics[0].name}"
    chart = Chart(
        axis_over(metrics[0], across[ever]),
        axis_over(metrics[1], up[ever]),
        f"How the front of {title} moved over {len(known)} snapshots of the search",
    )
    for number, rows in enumerate(known):
        with chart.layer(number, is_last=number == len(known) - 1):
            edge = rows[front(results.values[rows][:, [x, y]])]
            chart.line(across[edge], up[edge], "s0", step=True)
            few = rows[np.unique(np.linspace(0, len(rows) - 1, MAX_MARKS).astype(int))]
            chart.dots(across[few], up[few])
    return Figure(chart.render(), f"{title}; the front moves to the {best_corner(*metrics)}.")
