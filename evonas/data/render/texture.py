"""Procedural textures with scales in metres, which fade where a pixel is larger than the pattern."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evonas.data.render.solids import Array, column

Kind = Literal["checker", "stripes", "noise"]
KINDS: tuple[Kind, ...] = ("checker", "stripes", "noise")
_TABLE = 64


@dataclass(frozen=True, slots=True)
class Texture:
    """Two colours mixed by a pattern.

    Args:
        kind: checker, stripes or noise.
        period: side of a checker cell, width of a stripe or of a noise cell, in metres.
        colours: two RGB triples in [0, 1].
        table: values in [0, 1], 64x64, from which noise is interpolated.
    """

    kind: Kind
    period: float
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    table: Array

    def paint(self, surface: Array, footprint: Array) -> Array:
        """Colours (3, N) at texture coordinates (2, N) of pixels that cover `footprint` metres (N,).

        Without fading distant patterns would alias, and two views of a point would disagree.
        """
        u, v = surface / np.float32(self.period)
        visible = np.clip(1.5 - footprint / np.float32(self.period), 0, 1)
        mix = np.float32(0.5) + (self._pattern(u, v) - np.float32(0.5)) * visible
        one, two = column(*self.colours[0]), column(*self.colours[1])
        return one + (two - one) * mix

    def _pattern(self, u: Array, v: Array) -> Array:
        if self.kind == "checker":
            return ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)
        if self.kind == "stripes":
            return (np.floor(u) % 2).astype(np.float32)
        return np.float32(0.65) * self._noise(u, v) + np.float32(0.35) * self._noise(2.7 * u, 2.7 * v)

    def _noise(self, u: Array, v: Array) -> Array:
        """Bilinear interpolation of the periodic table."""
        left, low = np.floor(u), np.floor(v)
        a, b = u - left, v - low
        i, j = left.astype(np.int32) % _TABLE, low.astype(np.int32) % _TABLE
        k, m = (i + 1) % _TABLE, (j + 1) % _TABLE
        near = self.table[i, j] * (1 - a) + self.table[k, j] * a
        return near * (1 - b) + (self.table[i, m] * (1 - a) + self.table[k, m] * a) * b


def random_texture(random: np.random.Generator, period: float, kinds: tuple[Kind, ...] = KINDS) -> Texture:
    """A texture of the given period with two colours that differ in brightness."""
    dark = random.uniform(0.05, 0.5, 3)
    light = np.clip(dark + random.uniform(0.15, 0.5, 3), 0, 1)
    return Texture(
        kind=kinds[int(random.integers(len(kinds)))],
        period=period,
        colours=(tuple(dark.tolist()), tuple(light.tolist())),
        table=random.random((_TABLE, _TABLE), dtype=np.float32),
    )
