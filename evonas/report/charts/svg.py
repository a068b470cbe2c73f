"""Charts as SVG text.

Shapes have CSS classes (`s0` ... `s6`, `cloud`, `ink`) instead of colours; page.css defines light and dark
colours. Charts are deterministic, so that a report can be rebuilt byte for byte.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

WIDTH, HEIGHT = 440, 310
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 44
SHAPES = ("circle", "square", "diamond", "up", "down", "plus", "star")
CELL = 2.5
FEW = 400

Numbers = Sequence[float] | range | NDArray[np.float64]

_PLUS = [(-0.45, -1.3), (0.45, -1.3), (0.45, -0.45), (1.3, -0.45), (1.3, 0.45), (0.45, 0.45)]
_RAYS = list(zip(range(10), [1.5, 0.65] * 5, strict=True))
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "up": [(0, -1.3), (1.25, 1), (-1.25, 1)],
    "down": [(0, 1.3), (1.25, -1), (-1.25, -1)],
    "plus": [*_PLUS, *[(-x, -y) for x, y in _PLUS]],
    "star": [(r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5)) for k, r in _RAYS],
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A chart axis: label with unit and direction, range, tick positions and tick labels."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    texts: tuple[str, ...]

    @classmethod
    def over(cls, label: str, values: Numbers) -> "Axis":
        """An axis that covers all values with a margin."""
        low, high = float(np.min(values)), float(np.max(values))
        room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
        low, high = (0.0 if 0 <= low < room else low - room), high + room
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        shown = tuple(float(tick) for tick in ticks if low <= tick <= high)
        return cls(label, low, high, shown, tuple(f"{tick:.6g}" for tick in shown))

    def place(self, values: Numbers, start: float, end: float) -> NDArray[np.float64]:
        """Map values to pixel positions between `start` and `end`."""
        share = (np.asarray(values, dtype=float) - self.low) / (self.high - self.low)
        return start + share * (end - start)


class Chart:
    """A chart with two axes; shapes are drawn in the order added.

    Args:
        alt: alternative text for screen readers.
    """

    def __init__(self, x: Axis, y: Axis, alt: str) -> None:
        self.x, self.y, self.alt = x, y, alt
        self._shapes: list[str] = [*self._grid(), *self._labels()]
        self._taken: list[tuple[float, float, float, float]] = []

    def cloud(self, xs: Numbers, ys: Numbers) -> None:
        """Draw many points, at most one dot per small cell, which bounds the size of the SVG."""
        cells = np.unique(np.round(np.stack(self._pixels(xs, ys), axis=1) / CELL), axis=0) * CELL
        dots = "".join(f"M{number(x)} {number(y)}h0" for x, y in cells)
        style = "cloud" if len(cells) > FEW else "cloud few"
        self._shapes.append(f'<path class="{style}" d="{dots}"/>')

    def dots(self, xs: Numbers, ys: Numbers) -> None:
        """Draw small dots without tooltips, as one shape."""
        path = "".join(f"M{number(x)} {number(y)}h0" for x, y in zip(*self._pixels(xs, ys), strict=True))
        self._shapes.append(f'<path class="dots" d="{path}"/>')

    @contextmanager
    def layer(self, place: int, is_last: bool) -> Iterator[None]:
        """Context in which shapes belong to one frame of a slider."""
        self._shapes.append(f'<g class="frame{" now" if is_last else ""}" data-frame="{place}">')
        yield
        self._shapes.append("</g>")

    def line(self, xs: Numbers, ys: Numbers, style: str = "s0", step: bool = False) -> None:
        """Draw a line through points in order; with `step`, a step function."""
        px, py = self._pixels(xs, ys)
        moves = [f"M{number(px[0])} {number(py[0])}"]
        for x, y in zip(px[1:], py[1:], strict=True):
            moves.append(f"H{number(x)}V{number(y)}" if step else f"L{number(x)} {number(y)}")
        self._shapes.append(f'<path class="line {style}" d="{"".join(moves)}"/>')

    def marks(
        self, xs: Numbers, ys: Numbers, shape: str, style: str, titles: Iterable[str], size: float = 3.5
    ) -> None:
        """Draw one marker per point, with its title as a tooltip."""
        for x, y, title in zip(*self._pixels(xs, ys), titles, strict=True):
            self._shapes.append(mark(shape, style, x, y, size, title))
            self._taken.append((x - size, y - size, x + size, y + size))

    def name(self, x: float, y: float, text: str) -> None:
        """Draw a label beside a point; it is omitted if there is no space, since the legend repeats it."""
        (px,), (py,) = self._pixels([x], [y])
        width = 8.8 * len(text)
        beside = [(px + 8, py + 4), (px - 8 - width, py + 4)]
        around = [(px - width / 2, py - 9), (px - width / 2, py + 18), (px + 8, py - 8), (px + 8, py + 17)]
        spots = [spot for spot in beside + around if self._has_room(spot, width)]
        if not spots:
            return
        left, base = spots[0]
        self._taken.append((left, base - 11, left + width, base + 2))
        self._shapes.append(word("name", left, base, text, "start"))

    def render(self) -> str:
        """The SVG element."""
        head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.alt)}">'
        return head + "".join(self._shapes) + "</svg>"

    def _pixels(self, xs: Numbers, ys: Numbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        across = self.x.place(xs, LEFT, WIDTH - RIGHT)
        return across, self.y.place(ys, HEIGHT - BOTTOM, TOP)

    def _has_room(self, spot: tuple[float, float], width: float) -> bool:
        left, top, right, bottom = spot[0], spot[1] - 11, spot[0] + width, spot[1] + 2
        inside = left >= LEFT and right <= WIDTH - 2 and top >= TOP and bottom <= HEIGHT - BOTTOM
        return inside and not any(
            a < right and left < c and b < bottom and top < d for a, b, c, d in self._taken
        )

    def _grid(self) -> Iterable[str]:
        floor, end = HEIGHT - BOTTOM, WIDTH - RIGHT
        for text, x in zip(self.x.texts, self.x.place(self.x.ticks, LEFT, end), strict=True):
            yield f'<path class="grid" d="M{number(x)} {TOP}V{floor}"/>'
            yield word("tick", x, floor + 16, text, "middle")
        for text, y in zip(self.y.texts, self.y.place(self.y.ticks, floor, TOP), strict=True):
            yield f'<path class="grid" d="M{LEFT} {number(y)}H{end}"/>'
            yield word("tick", LEFT - 6, y + 4, text, "end")
        yield f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{end}"/>'

    def _labels(self) -> Iterable[str]:
        yield word("label", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.x.label, "middle")
        turned = f'transform="translate(14 {number((TOP + HEIGHT - BOTTOM) / 2)}) rotate(-90)"'
        yield f'<text class="label" {turned} text-anchor="middle">{escape(self.y.label)}</text>'


def mark(shape: str, style: str, x: float, y: float, size: float, title: str = "") -> str:
    """One marker as an SVG element."""
    told = f"<title>{escape(title)}</title>" if title else ""
    if shape == "circle":
        where = f'cx="{number(x)}" cy="{number(y)}" r="{number(size)}"'
        return f'<circle class="mark {style}" {where}>{told}</circle>'
    corners = " ".join(f"{number(x + size * dx)},{number(y + size * dy)}" for dx, dy in _OUTLINES[shape])
    return f'<polygon class="mark {style}" points="{corners}">{told}</polygon>'


def key(shape: str, style: str) -> str:
    """A marker for a legend, as an SVG element."""
    return f'<svg class="key" viewBox="0 0 16 16" aria-hidden="true">{mark(shape, style, 8, 8, 4.6)}</svg>'


def word(style: str, x: float, y: float, text: str, anchor: str) -> str:
    """A line of text as an SVG element; `anchor` is start, middle or end."""
    place = f'x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}>{escape(text)}</text>'


def number(value: float) -> str:
    """Format a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
