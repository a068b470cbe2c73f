"""Photometric distortion for segmentation (Liu et al., SSD, arXiv 1512.02325, section 2.2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.errors import UserError

Pixels = NDArray[np.uint8]

CHOSEN = 0.5
# Pillow divides the hue circle into 256 steps
TURN, DEGREES = 256, 360


@dataclass(frozen=True, slots=True)
class Photometric:
    """Changes brightness, contrast, saturation and hue, in this order, each with probability 0.5.

    With probability 0.5 contrast comes last instead. Every random number is drawn whether it is used or not, so that
    switching one change off (with 0) changes no other.

    Args:
        brightness: maximum offset of all channels, in 255ths.
        contrast: the factor of all channels is uniform in 1 +- contrast.
        saturation: the factor of the saturation is uniform in 1 +- saturation.
        hue: maximum rotation of the hue in degrees.

    Raises:
        UserError: a value is out of range.
    """

    brightness: float = 32.0
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 36.0

    def __post_init__(self) -> None:
        limits = {"brightness": 255.0, "contrast": 1.0, "saturation": 1.0, "hue": 180.0}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise UserError(
                    f"data.augment.colour.{name} must be in [0, {limit:g}], got {getattr(self, name)}.",
                    f"To switch it off: data.augment.colour.{name}=0",
                )

    def __call__(self, image: Pixels, random: np.random.Generator) -> Pixels:
        """The distorted image H W 3."""
        chosen, amounts = random.random(4) < CHOSEN, random.uniform(-1.0, 1.0, 4)
        is_last = bool(random.random() < CHOSEN)
        light, power, colour, turn = np.where(chosen, amounts, 0.0)
        image = _clipped(image, 1.0, light * self.brightness)
        if not is_last:
            image = _clipped(image, 1.0 + power * self.contrast)
        image = _recoloured(image, 1.0 + colour * self.saturation, turn * self.hue)
        return _clipped(image, 1.0 + power * self.contrast) if is_last else image


def _clipped(image: Pixels, factor: float, added: float = 0.0) -> Pixels:
    if factor == 1.0 and added == 0.0:
        return image
    changed = np.arange(256, dtype=np.float64) * factor + added
    return np.rint(np.clip(changed, 0, 255)).astype(np.uint8)[image]


def _recoloured(image: Pixels, saturation: float, degrees: float) -> Pixels:
    if saturation == 1.0 and degrees == 0.0:
        return image
    size = image.shape[1], image.shape[0]
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(round(degrees * TURN / DEGREES) % TURN)
    hsv[..., 1] = _clipped(hsv[..., 1], saturation)
    return np.asarray(Image.frombytes("HSV", size, hsv.tobytes()).convert("RGB"))
