"""Augmentation as a function of an image and a random generator.

Images are float32 RGB in [0, 1], H W 3; `normalise` converts them to tensors 3 H W.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating]

# statistics of ImageNet, which published pretrained weights expect
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
    """Colour jitter: with `probability` an exponent and gains, each uniform in 1 +- its range; clipped to [0, 1].

    The defaults are EvoNAS's values for indoor depth. The random numbers are drawn whether they are used or not, so
    that the probability does not change later draws.

    Args:
        image: H W 3 in [0, 1].
        random: the generator, which is advanced by six numbers.
        brightness: range of the gain of the whole image.
        gamma: range of the exponent.
        channels: range of the gain of each channel.
        probability: probability of any change.
    """

    def around(span: float, drawn: Any) -> Any:
        """Maps [0, 1) to [1 - span, 1 + span)."""
        return 1 - span + 2 * span * drawn

    chosen, power, light, *gains = random.random(6)
    if chosen >= probability:
        return image
    gain = around(brightness, light) * around(channels, np.array(gains))
    brightened = image ** np.float32(around(gamma, power)) * gain.astype(np.float32)
    return np.clip(brightened, 0.0, 1.0, dtype=np.float32)


def flips(random: np.random.Generator) -> bool:
    """Whether to flip an image horizontally."""
    return bool(random.random() < FLIP_PROBABILITY)


def normalise(image: Array) -> Tensor:
    """Converts an image H W 3 in [0, 1] to a contiguous tensor 3 H W, normalised by ImageNet's mean and deviation."""
    return torch.from_numpy(np.ascontiguousarray(((image - MEAN) / STD).transpose(2, 0, 1)))


def denormalise(images: Tensor) -> NDArray[np.uint8]:
    """Converts normalised images B 3 H W to uint8 B H W 3."""
    array = images.detach().float().cpu().numpy().transpose(0, 2, 3, 1) * STD + MEAN
    return np.rint(np.clip(array, 0.0, 1.0) * 255).astype(np.uint8)
