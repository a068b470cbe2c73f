"""The likeliest descent of the chosen networks, as a chart and a table."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from evonas.report.analysis.gene_matrix import Genome
from evonas.report.analysis.genealogy import Kin, Kinship
from evonas.report.analysis.snapshots import asked
from evonas.report.charts.plots import Figure, Star, stars
from evonas.report.charts.svg import Axis, Chart
from evonas.report.page.tables import DASH, Table, compact
from evonas.report.results import Facts

MOST_NETS = 6
# so many steps of each descent are told in words
STEPS = 4
MOST_WORDS = 4


def pedigree(
    facts: Facts, genome: Genome, nets: Sequence[Mapping[str, Any]], keys: Mapping[str, str]
) -> tuple[str, Figure, Table] | None:
    """How descent was guessed, and that of each network the search asked for; None where it asked for none.

    Args:
        nets: the chosen networks.
        keys: the marker of each by name.
    """
    places = {text: row for row, text in enumerate(facts.genotypes)}
    texts = {net["name"]: net["genotype"] for net in nets}
    named = [(star, places[texts[star.name]]) for star in stars(nets) if texts[star.name] in places]
    if not named:
        return None
    kinship = Kinship(facts, genome)
    found = [(star, list(kinship.descent(row))) for star, row in named[:MOST_NETS]]
    rows = [row for star, line in found for row in _told(facts, genome, star.name, line)]
    label = facts.label(facts.names[0])
    columns = ["network", "asked as number", label, "likeliest parent", "changes", "crossed with"]
    return _method(kinship), _chart(facts, found), Table(columns, rows, keys)


def _method(kinship: Kinship) -> str:
    how = (
        "two of the networks that NSGA-II had kept, which together have most of a network's genes"
        if kinship.has_crossings
        else "the most similar network of an earlier generation"
    )
    text = "An archive keeps facts and no parents, so these are guesses, read off the genes"
    return f"{text}: the likeliest parents are {how}."


def _chart(facts: Facts, found: Sequence[tuple[Star, Sequence[Kin]]]) -> Figure:
    numbers, errors = (asked(facts) + 1).astype(np.float64), facts.values[:, 0]
    shown = [0, *(kin.row for _, line in found for kin in line)]
    y = Axis.over(facts.label(facts.names[0]), errors[shown])
    chart = Chart(
        Axis.over("asked as number", [0, *numbers[-1:]]), y, "The likeliest descent of the chosen networks"
    )
    inside = (errors >= y.low) & (errors <= y.high)
    chart.cloud(numbers[inside], errors[inside])
    for star, line in found:
        rows = [kin.row for kin in line]
        chart.line(numbers[rows[::-1]], errors[rows[::-1]], star.style)
        titles = [f"number {numbers[row]:.0f}: {facts.genotypes[row]}" for row in rows]
        chart.marks(numbers[rows[1:]], errors[rows[1:]], "circle", star.style, titles[1:], size=2.4)
        chart.marks(numbers[rows[:1]], errors[rows[:1]], star.shape, star.style, [star.name], size=6)
    for star, line in found:
        chart.name(float(numbers[line[0].row]), float(errors[line[0].row]), star.name)
    text = "Each line leads from the first generation to a chosen network, through its likeliest parents."
    return Figure(chart.render(), text)


def _told(facts: Facts, genome: Genome, name: str, line: Sequence[Kin]) -> list[list[str]]:
    numbers, rows = asked(facts) + 1, []
    for kin in islice(line, STEPS):
        nearest = DASH if kin.nearest is None else str(numbers[kin.nearest])
        changes = DASH if kin.nearest is None else _changes(genome.differences(kin.row, kin.nearest))
        mate = DASH if kin.mate is None else f"{numbers[kin.mate]} ({kin.shared} of {kin.changed} changes)"
        first = name if kin is line[0] else f"before {name}"
        rows.append([first, str(numbers[kin.row]), compact(facts.values[kin.row, 0]), nearest, changes, mate])
    return rows


def _changes(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_WORDS} more" if len(words) > MOST_WORDS else ""
    return ", ".join(words[:MOST_WORDS]) + more
