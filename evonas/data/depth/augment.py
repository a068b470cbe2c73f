"""Augmentation of images with measured depth.

Legend: C channels, H W space. Images are H W 3, uint8 before augmentation and float32 in [0, 1] after it; depth is
H W float32 in metres, 0 where it is unknown.

Published values (KITTI / NYU): rotation 1.0 / 2.5 degrees, flip 0.5, and with probability 0.5 gamma 0.1, brightness
0.1 / 0.25, channels 0.1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.augment import Array, jitter_colour
from evonas.errors import UserError

Pixels = NDArray[np.uint8]
Metres = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DepthAugment:
    """Rotates, crops, flips and jitters colours.

    Every random number is drawn whether it is used or not, so that switching one operation off changes no other.

    Args:
        rotation: maximum angle in degrees; images are resampled bilinearly, depth by nearest neighbour.
        flip: probability of a horizontal flip.
        colour: probability of colour jitter.
        gamma: the exponent is uniform in 1 +- gamma.
        brightness: the gain of the whole image is uniform in 1 +- brightness.
        channels: the gain of each channel is uniform in 1 +- channels.

    Raises:
        UserError: a value is out of range.
    """

    rotation: float = 1.0
    flip: float = 0.5
    colour: float = 0.5
    gamma: float = 0.1
    brightness: float = 0.1
    channels: float = 0.1

    def __post_init__(self) -> None:
        for name in ("flip", "colour", "gamma", "brightness", "channels"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"data.augment.{name} must be in [0, 1], got {getattr(self, name)}.",
                    f"To switch it off: data.augment.{name}=0",
                )
        if not 0 <= self.rotation <= 180:
            raise UserError(
                f"data.augment.rotation must be in [0, 180] degrees, got {self.rotation}.",
                "To switch it off: data.augment.rotation=0",
            )

    def __call__(
        self, image: Pixels, depth: Metres, size: tuple[int, int], random: np.random.Generator
    ) -> tuple[Array, Metres]:
        """An augmented pair of `size`; larger pairs are cropped at random."""
        angle = float(random.uniform(-self.rotation, self.rotation))
        down, right, mirrored = random.random(3)
        image, depth = rotated(image, depth, angle)
        top = int(down * (image.shape[0] - size[0] + 1))
        left = int(right * (image.shape[1] - size[1] + 1))
        image, depth = cut(image, depth, top, left, size)
        if mirrored < self.flip:
            image, depth = image[:, ::-1], depth[:, ::-1]
        unit = image.astype(np.float32) / 255
        return jitter_colour(unit, random, self.brightness, self.gamma, self.channels, self.colour), depth


def rotated(image: Pixels, depth: Metres, angle: float) -> tuple[Pixels, Metres]:
    """Rotates both by `angle` degrees about their centre; new corners are black, and their depth unknown."""
    if angle == 0:
        return image, depth
    turned = Image.fromarray(image).rotate(angle, resample=Image.Resampling.BILINEAR)
    metres = Image.fromarray(depth).rotate(angle, resample=Image.Resampling.NEAREST)
    return np.asarray(turned), np.asarray(metres)


def cut(image: Pixels, depth: Metres, top: int, left: int, size: tuple[int, int]) -> tuple[Pixels, Metres]:
    """The window of `size` whose upper left corner is (top, left)."""
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    return image[rows, columns], depth[rows, columns]
