"""Drawings of chosen networks: what a genotype means, stage by stage, with widths to scale.

A genotype of the VSS-ViT space becomes a row of blocks (EvoNAS, arXiv 2603.19563): the height of the left
half is the inner width of its token mixer, that of the right half the hidden width of its MLP, both in
channels and on one scale for all drawings of a page. Points of other spaces are drawn as their choices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from evonas.errors import UserError
from evonas.report.plots import Figure
from evonas.report.strips import strips
from evonas.report.svg import WIDTH, number, word
from evonas.space.evonet import Architecture, StageChoice, architecture
from evonas.space.space import Space

_TOP, _TALLEST, _LINE, _LINES = 6, 96, 14, 4
_HEIGHT = _TOP + _TALLEST + 8 + _LINE * _LINES + 4
_MIDDLE = _TOP + _TALLEST / 2
_SIDE, _GAP, _LEAST = 4, 12, 1.5
SSD, ATTENTION, MLP = "s0", "s2", "s1"


@dataclass(frozen=True, slots=True)
class Plan:
    """A network to draw: its name and text form."""

    name: str
    genotype: str


def blueprints(plans: Sequence[Plan], space: Space, dims: Sequence[int] | None) -> list[Figure]:
    """One drawing for each network that is a point of the space.

    Args:
        dims: channels of each stage; without them every stage counts as equally wide.
    """
    read = {plan.name: _architecture(plan, space) for plan in plans}
    known = {name: found for name, found in read.items() if found is not None}
    if not known:
        return strips([(plan.name, plan.genotype) for plan in plans], space)
    stages = len(next(iter(known.values())).stages)
    widths = list(dims) if dims and len(dims) == stages else [1] * stages
    scale = _TALLEST / max(_widest(found, widths) for found in known.values())
    return [_figure(name, found, widths, scale) for name, found in known.items()]


def has_blocks(plans: Sequence[Plan], space: Space) -> bool:
    """Whether the networks of the space are rows of blocks."""
    return any(_architecture(plan, space) is not None for plan in plans)


def _architecture(plan: Plan, space: Space) -> Architecture | None:
    try:
        return architecture(space, space.parse(plan.genotype))
    except UserError:
        return None


def _widest(of: Architecture, widths: Sequence[int]) -> float:
    return max(
        width * max(1.0, stage.mlp_ratio, stage.expand or 0.0)
        for stage, width in zip(of.stages, widths, strict=True)
    )


def _figure(name: str, of: Architecture, widths: Sequence[int], scale: float) -> Figure:
    on = sum(map(sum, (stage.blocks for stage in of.stages)))
    places = sum(len(stage.blocks) for stage in of.stages)
    step = (WIDTH - 2 * _SIDE - _GAP * (len(of.stages) - 1)) / places
    shapes: list[str] = []
    left = float(_SIDE)
    for number_, (stage, width) in enumerate(zip(of.stages, widths, strict=True), start=1):
        shapes += _stage(stage, number_, width, left, step, scale)
        left += step * len(stage.blocks) + _GAP
    alt = f"{name}: {on} of {places} blocks"
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alt)}">{"".join(shapes)}</svg>'
    )
    return Figure(svg, f"{alt} are on.")


def _stage(
    stage: StageChoice, place: int, width: int, left: float, step: float, scale: float
) -> Iterator[str]:
    right = left + step * len(stage.blocks)
    yield _box("stage", left, right, width * scale, f"stage {place}")
    for index, is_on in enumerate(stage.blocks):
        yield from _block(stage, is_on, width, left + step * index, step, scale)
    middle = (left + right) / 2
    lines = [f"{width} ch" if width > 1 else f"stage {place}", f"MLP x{stage.mlp_ratio:g}"]
    lines += ["attention"] if stage.expand is None else [f"SSD x{stage.expand:g}", f"state {stage.d_state}"]
    for number_, text in enumerate(lines, start=1):
        yield word("tick", middle, _TOP + _TALLEST + 4 + _LINE * number_, text, "middle")


def _block(
    stage: StageChoice, is_on: bool, width: int, left: float, step: float, scale: float
) -> Iterator[str]:
    inset, middle = min(2.0, step / 8), left + step / 2
    if not is_on:
        yield _box("off", left + inset, left + step - inset, width * scale, "block off")
        return
    mixer = width * (stage.expand or 1.0)
    style, what = (ATTENTION, "attention") if stage.expand is None else (SSD, "SSD")
    hidden = width * stage.mlp_ratio
    yield _box(f"mark {style}", left + inset, middle, mixer * scale, _wide(what, mixer, width))
    yield _box(f"mark {MLP}", middle, left + step - inset, hidden * scale, _wide("MLP", hidden, width))


def _wide(what: str, channels: float, width: int) -> str:
    """What a box is, and its channels where those of the stage are known."""
    return f"{what}, {channels:g} channels" if width > 1 else f"{what}, {channels:g} times the stage"


def _box(style: str, left: float, right: float, height: float, title: str) -> str:
    tall = max(height, _LEAST)
    place = f'x="{number(left)}" y="{number(_MIDDLE - tall / 2)}"'
    size = f'width="{number(right - left)}" height="{number(tall)}"'
    return f'<rect class="{style}" {place} {size}><title>{escape(title)}</title></rect>'
