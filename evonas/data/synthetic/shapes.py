"""Drawn silhouettes of ten classes for image classification; no download is needed.

Position, size, angle, colours, textures and clutter are random and independent of the class, so that only the outline
identifies it. An image is a function of (seed, split, index).

Legend: C channels, H W space.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.data.augment import Array, flips, jitter_colour, normalise
from evonas.data.base import Images, Item, Split, check_size, manifest_of, split_sizes
from evonas.data.synthetic.outlines import NAMES, SILHOUETTES
from evonas.randomness import generator

# version of the drawing; increase it whenever the same seed draws a different image
PAINTER = 1
# samples along each side of a pixel
SAMPLES = 2
# radius of the silhouette, in halves of the image's shorter side
SIZES = (0.45, 0.75)
# minimum number of strokes, and maximum plus one
CLUTTER = (2, 6)
# upper limit of the number of images of a split
MOST_IMAGES = 10**9

Pixels = NDArray[np.uint8]


class Shapes:
    """A source of drawn images, drawn on first use and kept in memory.

    Args:
        seed: seed of the images; keep it fixed to compare runs on the same data.
        augment_seed: seed of the augmentation of `train`.
        train, validation, test: number of images of each split.
        height, width: size of the images in pixels, multiples of 32.
    """

    num_classes = len(NAMES)

    def __init__(
        self,
        seed: int = 0,
        augment_seed: int = 0,
        train: int = 3000,
        validation: int = 300,
        test: int = 1000,
        height: int = 64,
        width: int = 64,
    ) -> None:
        self.size = check_size(height, width)
        self.seed, self.augment_seed = seed, augment_seed
        self.counts = split_sizes(MOST_IMAGES, train=train, holdout=validation, test=test)
        self._drawn: dict[tuple[Split, int], Pixels] = {}

    def dataset(self, split: Split) -> "ShapeImages":
        """One split; images are drawn when an item is read."""
        return ShapeImages(split, self)

    def labels(self, split: Split) -> Sequence[int]:
        """The class ids of a split, in turn; draws nothing."""
        return [index % self.num_classes for index in range(self.counts[split])]

    def class_names(self) -> Sequence[str]:
        """The names of the silhouettes in the order of their ids."""
        return NAMES

    def image(self, split: Split, index: int) -> Pixels:
        """An image H W 3, drawn once."""
        if (split, index) not in self._drawn:
            random = generator(self.seed, f"shapes/{split}", index)
            self._drawn[split, index] = draw(index % self.num_classes, self.size, random)
        return self._drawn[split, index]


class ShapeImages(Images):
    """Items: image (3 H W) and label (the class id)."""

    def __init__(self, split: Split, source: Shapes) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return self._source.counts[self.split]

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        image: Array = self._source.image(self.split, index).astype(np.float32) / 255
        if self.augment and self.split == "train":
            random = generator(self._source.augment_seed, f"augment/{self.epoch}", index)
            if flips(random):
                image = image[:, ::-1]
            if image.shape[0] == image.shape[1]:
                image = np.rot90(image, int(random.integers(4)))
            image = jitter_colour(image, random)
        return {"image": normalise(image), "label": torch.tensor(index % self._source.num_classes)}

    def manifest(self) -> str:
        """The sha256 of seed, count, size and the drawing's version; draws nothing."""
        source = self._source
        return manifest_of(
            source="shapes",
            painter=PAINTER,
            seed=source.seed,
            split=self.split,
            count=len(self),
            size=source.size,
        )


def draw(number: int, size: tuple[int, int], random: np.random.Generator) -> Pixels:
    """An image H W 3: a textured background, clutter, the silhouette of a class, and noise.

    Args:
        number: class id.
        size: height and width.
        random: generator, which is advanced; the same state draws the same image.
    """
    # two colours that differ by more than 0.35 in one channel
    while True:
        ground, figure = random.random((2, 3))
        if np.abs(ground - figure).max() > 0.35:
            break
    # coordinates of all samples, in halves of the shorter side, with (0, 0) in the centre
    (height, width), half = size, min(size) / 2
    y = ((np.arange(height * SAMPLES) + 0.5) / SAMPLES - height / 2) / half
    x = ((np.arange(width * SAMPLES) + 0.5) / SAMPLES - width / 2) / half
    rows, columns = y[:, None] + 0 * x, x + 0 * y[:, None]
    image = _textured(ground, rows, columns, random)
    for _ in range(int(random.integers(*CLUTTER))):
        stroke = _stroke(rows, columns, random)
        image[stroke] = random.random(3)
    mask = _silhouette(number, rows, columns, random)
    image += mask[..., None] * (_textured(figure, rows, columns, random) - image)
    # the mean of each pixel's samples gives smooth edges
    image = image.reshape(height, SAMPLES, width, SAMPLES, 3).mean(axis=(1, 3))
    image = image + random.normal(0, random.uniform(0, 0.04), (*size, 3))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _textured(colour: Array, rows: Array, columns: Array, random: np.random.Generator) -> Array:
    """A colour modulated by waves of random direction, length and amplitude."""
    angle, length, phase = random.uniform(0, np.pi), random.uniform(0.08, 0.6), random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    waves = np.sin(2 * np.pi * along / length + phase) * random.uniform(0, 0.12)
    return colour + waves[..., None] * random.uniform(0.3, 1, 3)


def _stroke(rows: Array, columns: Array, random: np.random.Generator) -> NDArray[np.bool_]:
    """The mask of a short thick line at a random position: clutter that is independent of the class."""
    y, x = random.uniform(-1, 1, 2)
    angle, length, width = random.uniform(0, np.pi), random.uniform(0.05, 0.5), random.uniform(0.02, 0.08)
    u, v = _turned(rows - y, columns - x, angle)
    return (np.abs(u) < length) & (np.abs(v) < width)


def _silhouette(number: int, rows: Array, columns: Array, random: np.random.Generator) -> Array:
    """1.0 inside the outline of a class, which is placed at random within the image."""
    radius = random.uniform(*SIZES)
    limits = np.array([np.abs(rows).max(), np.abs(columns).max()]) - radius
    y, x = random.uniform(-limits, limits)
    u, v = _turned((rows - y) / radius, (columns - x) / radius, random.uniform(0, 2 * np.pi))
    return SILHOUETTES[number](u, v).astype(np.float64)


def _turned(rows: Array, columns: Array, angle: float) -> tuple[Array, Array]:
    sine, cosine = np.sin(angle), np.cos(angle)
    return cosine * columns + sine * rows, cosine * rows - sine * columns
