"""Augmentation as a function of the generator it is given.

Images are float32 RGB in [0, 1], H W C, until `normalise` makes them C H W.
"""

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


def jitter_colour(image: Array, random: np.random.Generator, brightness: float = 0.25) -> Array:
    """Half of the time: gamma 0.9-1.1, brightness 1 +- `brightness`, each channel 0.9-1.1, then clip.

    The ranges are those that the original uses for indoor depth.
    """
    chosen, gamma, light, *channels = random.random(6)
    if chosen >= COLOUR_PROBABILITY:
        return image
    gain = (1 - brightness + 2 * brightness * light) * (0.9 + 0.2 * np.array(channels))
    brightened = image ** np.float32(0.9 + 0.2 * gamma) * gain.astype(np.float32)
    return np.clip(brightened, 0.0, 1.0, dtype=np.float32)


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
