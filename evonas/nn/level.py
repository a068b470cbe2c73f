"""Level: the contract between a backbone and a head."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """One feature map of a backbone: its channels and its stride in input pixels."""

    channels: int
    stride: int


def pyramid(channels: Iterable[int]) -> tuple[Level, ...]:
    """Levels of these channels at strides 4, 8, 16 and so on."""
    return tuple(Level(width, 4 * 2**at) for at, width in enumerate(channels))
