"""Architecture drawings: stages and blocks of networks, with channel widths to scale.

A supernet family describes its stages and blocks (`SupernetFamily.draw`). Each block is drawn as bars whose
heights are their widths in channels, on a common scale for all drawings of a page. Without a family, networks
are drawn as gene grids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from evonas.errors import UserError
from evonas.report.charts.gene_grid import gene_grids
from evonas.report.charts.plots import Figure
from evonas.report.charts.svg import WIDTH, number, word
from evonas.space.space import Space
from evonas.supernets.base import Bar, DrawnStage, SupernetFamily

_TOP, _TALLEST, _LINE, _LINES = 6, 96, 14, 4
_HEIGHT = _TOP + _TALLEST + 8 + _LINE * _LINES + 4
_MIDDLE = _TOP + _TALLEST / 2
_SIDE, _GAP, _LEAST = 4, 12, 1.5

Drawn = tuple[DrawnStage, ...]


@dataclass(frozen=True, slots=True)
class NamedGenotype:
    """A name and a formatted genotype."""

    name: str
    genotype: str


def architecture_drawings(
    plans: Sequence[NamedGenotype], space: Space, family: SupernetFamily | None
) -> list[Figure]:
    """One drawing per network; networks that do not belong to the space are left out."""
    known = _known(plans, family)
    if not known:
        return gene_grids([(plan.name, plan.genotype) for plan in plans], space)
    scale = _TALLEST / max(max(map(_tallest, stages)) for stages in known.values())
    return [_figure(name, stages, scale) for name, stages in known.items()]


def parts(plans: Sequence[NamedGenotype], family: SupernetFamily | None) -> list[tuple[str, str]]:
    """Legend: distinct (description, style) of the bars, in the order of their first appearance."""
    bars = [
        (bar.what, bar.style)
        for stages in _known(plans, family).values()
        for stage in stages
        for block in stage.blocks
        for bar in block or ()
    ]
    return list(dict.fromkeys(bars))


def _known(plans: Sequence[NamedGenotype], family: SupernetFamily | None) -> dict[str, Drawn]:
    found = {plan.name: _drawn(plan, family) for plan in plans} if family else {}
    return {name: stages for name, stages in found.items() if stages is not None}


def _drawn(plan: NamedGenotype, family: SupernetFamily) -> Drawn | None:
    try:
        return family.draw(family.space.parse(plan.genotype))
    except UserError:
        return None


def _tallest(stage: DrawnStage) -> float:
    return max([stage.width, *(bar.channels for block in stage.blocks for bar in block or ())])


def _figure(name: str, stages: Drawn, scale: float) -> Figure:
    on = sum(block is not None for stage in stages for block in stage.blocks)
    places = sum(len(stage.blocks) for stage in stages)
    step = (WIDTH - 2 * _SIDE - _GAP * (len(stages) - 1)) / places
    shapes: list[str] = []
    left = float(_SIDE)
    for at, stage in enumerate(stages, start=1):
        shapes += _stage(stage, at, left, step, scale)
        left += step * len(stage.blocks) + _GAP
    alt = f"{name}: {on} of {places} blocks"
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alt)}">{"".join(shapes)}</svg>'
    )
    return Figure(svg, f"{alt} are active.")


def _stage(stage: DrawnStage, at: int, left: float, step: float, scale: float) -> Iterator[str]:
    right = left + step * len(stage.blocks)
    yield _box("stage", left, right, stage.width * scale, f"stage {at}")
    for index, block in enumerate(stage.blocks):
        yield from _block(block, stage.width, left + step * index, step, scale)
    middle = (left + right) / 2
    for line, text in enumerate(stage.captions, start=1):
        yield word("tick", middle, _TOP + _TALLEST + 4 + _LINE * line, text, "middle")


def _block(bars: tuple[Bar, ...] | None, width: int, left: float, step: float, scale: float) -> Iterator[str]:
    inset = min(2.0, step / 8)
    if bars is None:
        yield _box("off", left + inset, left + step - inset, width * scale, "inactive block")
        return
    each = step / len(bars)
    for index, bar in enumerate(bars):
        begin = left + each * index + (inset if index == 0 else 0)
        end = left + each * (index + 1) - (inset if index + 1 == len(bars) else 0)
        title = f"{bar.what}, {bar.channels:g} channels"
        yield _box(f"mark {bar.style}", begin, end, bar.channels * scale, title)


def _box(style: str, left: float, right: float, height: float, title: str) -> str:
    tall = max(height, _LEAST)
    place = f'x="{number(left)}" y="{number(_MIDDLE - tall / 2)}"'
    size = f'width="{number(right - left)}" height="{number(tall)}"'
    return f'<rect class="{style}" {place} {size}><title>{escape(title)}</title></rect>'
