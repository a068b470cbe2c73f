"""Horizontal bar charts as SVG text; page.css defines the colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from evonas.report.charts.svg import WIDTH, Axis, number, word

_ROW, _TOP, _BOTTOM, _LEFT, _RIGHT = 19, 8, 42, 78, 66


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: name, length, CSS style, label at its end and tooltip."""

    name: str
    length: float
    style: str
    label_at_end: str
    title: str


def bars(rows: Sequence[Bar], label: str, alt: str) -> str:
    """The SVG element; negative lengths are drawn as 0."""
    axis, floor = Axis.over(label, [0.0, *(bar.length for bar in rows)]), _TOP + _ROW * len(rows)
    axis = Axis(axis.label, 0.0, axis.high, *_shown(axis))
    head = f'<svg viewBox="0 0 {WIDTH} {floor + _BOTTOM}" role="img" aria-label="{escape(alt)}">'
    shapes = [*_grid(axis, floor)]
    for place, bar in enumerate(rows):
        shapes.append(_bar(bar, axis, _TOP + _ROW * place))
    return head + "".join(shapes) + "</svg>"


def _shown(axis: Axis) -> tuple[tuple[float, ...], tuple[str, ...]]:
    kept = [(tick, text) for tick, text in zip(axis.ticks, axis.texts, strict=True) if tick >= 0]
    return tuple(tick for tick, _ in kept), tuple(text for _, text in kept)


def _grid(axis: Axis, floor: float) -> list[str]:
    end = WIDTH - _RIGHT
    shapes = [word("label", (_LEFT + end) / 2, floor + 36, axis.label, "middle")]
    for text, x in zip(axis.texts, axis.place(axis.ticks, _LEFT, end), strict=True):
        shapes.append(f'<path class="grid" d="M{number(x)} {_TOP}V{number(floor)}"/>')
        shapes.append(word("tick", x, floor + 15, text, "middle"))
    return [*shapes, f'<path class="axis" d="M{_LEFT} {_TOP}V{number(floor)}H{end}"/>']


def _bar(bar: Bar, axis: Axis, top: float) -> str:
    end = float(axis.place([max(0.0, bar.length)], _LEFT, WIDTH - _RIGHT)[0])
    shape = (
        f'<rect class="mark {bar.style}" x="{_LEFT}" y="{number(top + 3)}" '
        f'width="{number(end - _LEFT)}" height="{_ROW - 6}"><title>{escape(bar.title)}</title></rect>'
    )
    name = word("tick", _LEFT - 6, top + _ROW - 6, bar.name, "end")
    return shape + name + word("tick", end + 5, top + _ROW - 6, bar.label_at_end, "start")
