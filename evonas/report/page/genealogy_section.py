"""Genealogy of the selected networks, as a chart and a table."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from evonas.report.analysis.gene_matrix import GeneMatrix
from evonas.report.analysis.genealogy import Genealogy, LikelyParents
from evonas.report.analysis.snapshots import asked
from evonas.report.charts.plots import Figure, Star, axis_over, stars
from evonas.report.charts.svg import Axis, Chart
from evonas.report.page.tables import DASH, Table, compact
from evonas.report.results import SearchResults

MAX_NETS = 6
# generations per network in the table
MAX_ROWS = 4
MAX_CHANGES = 4


def genealogy(
    results: SearchResults,
    gene_matrix: GeneMatrix,
    nets: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str],
) -> tuple[str, Figure, Table] | None:
    """Explanation, chart and table of the likeliest ancestors of the selected networks.

    Args:
        results: results of the search.
        gene_matrix: genes of all results.
        nets: selected networks.
        keys: name -> marker.

    Returns:
        None if the search evaluated none of the selected networks.
    """
    places = {text: row for row, text in enumerate(results.genotypes)}
    texts = {net["name"]: net["genotype"] for net in nets}
    named = [(star, places[texts[star.name]]) for star in stars(nets) if texts[star.name] in places]
    if not named:
        return None
    genealogy = Genealogy(results, gene_matrix)
    found = [(star, list(genealogy.descent(row))) for star, row in named[:MAX_NETS]]
    rows = [row for star, line in found for row in _told(results, gene_matrix, star.name, line)]
    columns = [
        "network",
        "evaluation",
        results.metrics[0].arrow,
        "likeliest parent",
        "changed genes",
        "second parent",
    ]
    return _method(genealogy), _chart(results, found), Table(columns, rows, keys)


def _method(genealogy: Genealogy) -> str:
    how = (
        "the two survivors of NSGA-II that together explain most of a network's genes"
        if genealogy.has_crossings
        else "the most similar network of an earlier generation"
    )
    text = "Archives do not store parents, so these are estimates from the genes"
    return f"{text}: the likeliest parents are {how}."


def _chart(results: SearchResults, found: Sequence[tuple[Star, Sequence[LikelyParents]]]) -> Figure:
    numbers, values = (asked(results) + 1).astype(np.float64), results.shown[:, 0]
    shown = [0, *(each.row for _, line in found for each in line)]
    y = axis_over(results.metrics[0], values[shown])
    chart = Chart(
        Axis.over("evaluation", [0, *numbers[-1:]]), y, "Likeliest ancestors of the selected networks"
    )
    inside = (values >= y.low) & (values <= y.high)
    chart.cloud(numbers[inside], values[inside])
    for star, line in found:
        rows = [each.row for each in line]
        chart.line(numbers[rows[::-1]], values[rows[::-1]], star.style)
        titles = [f"number {numbers[row]:.0f}: {results.genotypes[row]}" for row in rows]
        chart.marks(numbers[rows[1:]], values[rows[1:]], "circle", star.style, titles[1:], size=2.4)
        chart.marks(numbers[rows[:1]], values[rows[:1]], star.shape, star.style, [star.name], size=6)
    for star, line in found:
        chart.name(float(numbers[line[0].row]), float(values[line[0].row]), star.name)
    text = "Each line leads from the first generation to a selected network, through its likeliest parents."
    return Figure(chart.render(), text)


def _told(
    results: SearchResults, gene_matrix: GeneMatrix, name: str, line: Sequence[LikelyParents]
) -> list[list[str]]:
    numbers, rows = asked(results) + 1, []
    for each in islice(line, MAX_ROWS):
        nearest = DASH if each.nearest is None else str(numbers[each.nearest])
        changes = DASH if each.nearest is None else _changes(gene_matrix.differences(each.row, each.nearest))
        mate = (
            DASH if each.mate is None else f"{numbers[each.mate]} ({each.shared} of {each.changed} changes)"
        )
        first = name if each is line[0] else f"before {name}"
        rows.append(
            [first, str(numbers[each.row]), compact(results.shown[each.row, 0]), nearest, changes, mate]
        )
    return rows


def _changes(words: Sequence[str]) -> str:
    more = f" and {len(words) - MAX_CHANGES} more" if len(words) > MAX_CHANGES else ""
    return ", ".join(words[:MAX_CHANGES]) + more
