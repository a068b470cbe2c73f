"""Gene grids: drawings of genotypes with one row per gene that marks its choice among all choices."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from evonas.errors import UserError
from evonas.report.charts.plots import Figure
from evonas.report.charts.svg import WIDTH, number, word
from evonas.space.genes import Axis, Gene
from evonas.space.space import Space

_ROW, _LEFT, _CELL, _WIDEST = 17, 64, 12, 200.0


def gene_grids(named: Sequence[tuple[str, str]], space: Space) -> list[Figure]:
    """One drawing per (name, formatted genotype); genotypes outside the space are left out."""
    figures = []
    for name, text in named:
        try:
            genes = space.parse(text).genes
        except UserError:
            continue
        present = space.expressed_rows(np.array([genes]))[0].tolist()
        parts = [(gene, space.spans[gene.name]) for gene in space.genes]
        rows = [_row(gene, genes[span], at, present[span.start]) for at, (gene, span) in enumerate(parts)]
        box = f"0 0 {WIDTH} {_ROW * len(rows) + 6}"
        svg = f'<svg viewBox="{box}" role="img" aria-label="The choices of {escape(name)}">'
        figures.append(
            Figure(f"{svg}{''.join(map(''.join, rows))}</svg>", f"{name}: the choice of each gene.")
        )
    return figures


def _row(gene: Gene, indices: tuple[int, ...], at: int, is_present: bool) -> Iterator[str]:
    """Shapes of one row; an unexpressed axis has no marked choice."""
    top = _ROW * at + 4
    taken = [is_taken and is_present for is_taken in _taken(gene, indices)]
    said = _said(gene, indices) if is_present else "-"
    step = min(_CELL, _WIDEST / len(taken))
    yield word("tick", _LEFT - 6, top + 10, gene.name, "end")
    for place, is_taken in enumerate(taken):
        where = f'x="{number(_LEFT + step * place)}" y="{top}"'
        style = "mark s0" if is_taken else "off"
        yield f'<rect class="{style}" {where} width="{number(0.8 * step)}" height="{_CELL - 1}"/>'
    yield word("tick", _LEFT + step * len(taken) + 6, top + 10, said, "start")


def _taken(gene: Gene, indices: tuple[int, ...]) -> list[bool]:
    if isinstance(gene, Axis):
        return [place == indices[0] for place in range(len(gene.choices))]
    return [bool(index) for index in indices]


def _said(gene: Gene, indices: tuple[int, ...]) -> str:
    if isinstance(gene, Axis):
        return gene.show(gene.value(indices))
    return f"{sum(indices)} of {len(indices)} on"
