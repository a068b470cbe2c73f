"""Level: the contract between a backbone and a head."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """One feature map of a backbone: its channels and its stride in input pixels."""

    channels: int
    stride: int
