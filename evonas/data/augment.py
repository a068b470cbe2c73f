"""Augmentation as a function of the generator it is given.

Images are float32 RGB in [0, 1], H W C, until `normalise` makes them C H W.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating]

# statistics of ImageNet, so that foreign pretrained weights see what they were trained on
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

FLIP_PROBABILITY = 0.5
COLOUR_PROBABILITY = 0.5


def jitter_colour(
    image: Array,
    random: np.random.Generator,
    brightness: float = 0.25,
    gamma: float = 0.1,
    channels: float = 0.1,
    probability: float = COLOUR_PROBABILITY,
) -> Array:
    """With `probability`: gamma, brightness and the gain of each channel within 1 +- their range, then clip.

    The ranges left out are those that the original uses for indoor depth. Every number is
    drawn whatever the probability, so a switch here changes no later draw.
    """
    chosen, power, light, *gains = random.random(6)
    if chosen >= probability:
        return image
    gain = _around(brightness, light) * _around(channels, np.array(gains))
    brightened = image ** np.float32(_around(gamma, power)) * gain.astype(np.float32)
    return np.clip(brightened, 0.0, 1.0, dtype=np.float32)


def _around(span: float, drawn: Any) -> Any:
    """A number drawn from [0, 1) as one from [1 - span, 1 + span)."""
    return 1 - span + 2 * span * drawn


def flips(random: np.random.Generator) -> bool:
    """Whether to mirror left and right."""
    return bool(random.random() < FLIP_PROBABILITY)


def normalise(image: Array) -> Tensor:
    """H W 3 in [0, 1] to a contiguous tensor 3 H W with ImageNet's mean and deviation removed."""
    return torch.from_numpy(np.ascontiguousarray(((image - MEAN) / STD).transpose(2, 0, 1)))


def denormalise(images: Tensor) -> NDArray[np.uint8]:
    """B 3 H W as made by `normalise`, back to uint8 B H W 3."""
    array = images.detach().float().cpu().numpy().transpose(0, 2, 3, 1) * STD + MEAN
    return np.rint(np.clip(array, 0.0, 1.0) * 255).astype(np.uint8)
