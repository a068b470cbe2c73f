"""Ten silhouettes as sets of points of the plane, each within the unit circle.

Each function maps coordinates u, v of equal shape to a mask of that shape. Classes are invariant to rotation, scaling
and mirroring.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
Mask = NDArray[np.bool_]


def disc(u: Points, v: Points) -> Mask:
    """A full disc."""
    return np.hypot(u, v) < 0.9


def ring(u: Points, v: Points) -> Mask:
    """A disc with a hole."""
    return np.abs(np.hypot(u, v) - 0.7) < 0.22


def half(u: Points, v: Points) -> Mask:
    """Half a disc."""
    return (np.hypot(u, v - 0.4) < 0.95) & (v < 0.4)


def crescent(u: Points, v: Points) -> Mask:
    """A disc without its intersection with another disc."""
    return (np.hypot(u, v) < 0.95) & (np.hypot(u - 0.55, v) > 0.75)


def triangle(u: Points, v: Points) -> Mask:
    """An equilateral triangle."""
    side = np.sqrt(3) / 2
    return np.maximum(-v, np.maximum(side * u + v / 2, v / 2 - side * u)) < 0.48


def square(u: Points, v: Points) -> Mask:
    """A square."""
    return np.maximum(np.abs(u), np.abs(v)) < 0.7


def bar(u: Points, v: Points) -> Mask:
    """A long rectangle."""
    return (np.abs(u) < 0.95) & (np.abs(v) < 0.26)


def star(u: Points, v: Points) -> Mask:
    """A star with five points, whose radius varies with the angle."""
    swing = np.abs((np.arctan2(v, u) / (2 * np.pi) * 5) % 1 - 0.5) * 2
    return np.hypot(u, v) < 0.38 + 0.6 * swing**1.5


def cross(u: Points, v: Points) -> Mask:
    """Two bars at a right angle."""
    return bar(u, v) | bar(v, u)


def ell(u: Points, v: Points) -> Mask:
    """Two bars that meet at their ends."""
    inside = (np.abs(u) < 0.75) & (np.abs(v) < 0.75)
    return inside & ((u < -0.25) | (v < -0.25))


SILHOUETTES: tuple[Callable[[Points, Points], Mask], ...] = (
    disc, ring, half, crescent, triangle, square, bar, star, cross, ell,
)  # fmt: skip
NAMES = tuple(silhouette.__name__ for silhouette in SILHOUETTES)
