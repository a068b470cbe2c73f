"""Drawn silhouettes in ten classes: classification that needs no download.

Place, size, angle, colours, textures and clutter are drawn independently of the class, so
only the outline tells it. NumPy alone; an image is a function of (seed, split, index).

Legend: C channels, H W space.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.data.augment import Array, flips, jitter_colour, normalise
from evonas.data.base import SPLITS, Images, Item, Split, check_size, seeded
from evonas.data.synthetic.outlines import NAMES, SILHOUETTES
from evonas.errors import UserError
from evonas.randomness import generator

# to be raised whenever the same seed would draw another image
PAINTER = 1
# samples along each side of a pixel
SAMPLES = 2
# the silhouette's radius, in halves of the image's shorter side
SIZES = (0.45, 0.75)
# fewest strokes, and one more than the most
CLUTTER = (2, 6)

Pixels = NDArray[np.uint8]


class Shapes:
    """A source of `train`, `holdout` and `test` images, drawn when first used and kept in memory.

    Args:
        seed: decides the images; keep it fixed to compare runs on the same data.
        augment_seed: decides the augmentation of `train`.
        train: number of images; likewise `holdout` and `test`.
        height: pixels, a multiple of 32; likewise `width`.
    """

    num_classes = len(NAMES)

    def __init__(
        self,
        seed: int = 0,
        augment_seed: int = 0,
        train: int = 3000,
        holdout: int = 300,
        test: int = 1000,
        height: int = 64,
        width: int = 64,
    ) -> None:
        self.size = check_size(height, width)
        self.seed, self.augment_seed = seed, augment_seed
        self.counts = dict(zip(SPLITS, (train, holdout, test), strict=True))
        for split, count in self.counts.items():
            if count < 1:
                raise UserError(f"data.{split}={count} is not a number of images.", f"Try data.{split}=400.")
        self._drawn: dict[tuple[Split, int], Pixels] = {}

    def dataset(self, split: Split) -> "ShapeImages":
        """One split; nothing is drawn before its first item is read."""
        return ShapeImages(split, self)

    def labels(self, split: Split) -> Sequence[int]:
        """The classes of a split, without drawing: every class in turn."""
        return [index % self.num_classes for index in range(self.counts[split])]

    def class_names(self) -> Sequence[str]:
        """The names of the silhouettes, in the order of their numbers."""
        return NAMES

    def image(self, split: Split, index: int) -> Pixels:
        """H W 3, drawn once."""
        if (split, index) not in self._drawn:
            random = generator(self.seed, f"shapes/{split}", index)
            self._drawn[split, index] = draw(index % self.num_classes, self.size, random)
        return self._drawn[split, index]


class ShapeImages(Images):
    """Items: image (3 H W) and label (the number of the silhouette)."""

    def __init__(self, split: Split, source: Shapes) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return self._source.counts[self.split]

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        image: Array = self._source.image(self.split, index).astype(np.float32) / 255
        if self.augment and self.split == "train":
            image = _augmented(image, generator(self._source.augment_seed, f"augment/{self.epoch}", index))
        return {"image": normalise(image), "label": torch.tensor(index % self._source.num_classes)}

    def manifest(self) -> str:
        """The sha256 of seed, count, size and the painter's version: nothing is drawn for it."""
        source = self._source
        text = seeded(
            source="shapes",
            painter=PAINTER,
            seed=source.seed,
            split=self.split,
            count=len(self),
            size=source.size,
        )
        return hashlib.sha256(text.encode()).hexdigest()


def draw(number: int, size: tuple[int, int], random: np.random.Generator) -> Pixels:
    """One image H W 3: a textured ground, clutter, the silhouette of a class, and noise.

    Args:
        number: of the class.
        size: height and width.
        random: consumed; the same state draws the same image.
    """
    ground, figure = _colours(random)
    rows, columns = _grid(size)
    image = _textured(ground, rows, columns, random)
    for _ in range(int(random.integers(*CLUTTER))):
        _paint(image, _stroke(rows, columns, random), random.random(3))
    mask = _silhouette(number, rows, columns, random)
    image += mask[..., None] * (_textured(figure, rows, columns, random) - image)
    image = _shrunk(image) + random.normal(0, random.uniform(0, 0.04), (*size, 3))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _grid(size: tuple[int, int]) -> tuple[Array, Array]:
    """Coordinates of all samples, in halves of the shorter side, (0, 0) in the middle."""
    height, width = size
    unit = min(size) / 2
    rows = ((np.arange(height * SAMPLES) + 0.5) / SAMPLES - height / 2) / unit
    columns = ((np.arange(width * SAMPLES) + 0.5) / SAMPLES - width / 2) / unit
    return rows[:, None] + 0 * columns, columns + 0 * rows[:, None]


def _colours(random: np.random.Generator) -> tuple[Array, Array]:
    """Two colours that differ by at least 0.35 in one channel, either one the lighter."""
    while True:
        ground, figure = random.random((2, 3))
        if np.abs(ground - figure).max() > 0.35:
            return ground, figure


def _textured(colour: Array, rows: Array, columns: Array, random: np.random.Generator) -> Array:
    """A colour with waves of a random direction, length and strength in it."""
    angle, length, phase = random.uniform(0, np.pi), random.uniform(0.08, 0.6), random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    waves = np.sin(2 * np.pi * along / length + phase) * random.uniform(0, 0.12)
    return colour + waves[..., None] * random.uniform(0.3, 1, 3)


def _stroke(rows: Array, columns: Array, random: np.random.Generator) -> NDArray[np.bool_]:
    """A short thick line somewhere: the same kind of clutter for every class."""
    y, x = random.uniform(-1, 1, 2)
    angle, length, width = random.uniform(0, np.pi), random.uniform(0.05, 0.5), random.uniform(0.02, 0.08)
    u, v = _turned(rows - y, columns - x, angle)
    return (np.abs(u) < length) & (np.abs(v) < width)


def _silhouette(number: int, rows: Array, columns: Array, random: np.random.Generator) -> Array:
    """1.0 inside the class's outline, at a random place where all of it is visible."""
    radius = random.uniform(*SIZES)
    limits = np.array([np.abs(rows).max(), np.abs(columns).max()]) - radius
    y, x = random.uniform(-limits, limits)
    u, v = _turned((rows - y) / radius, (columns - x) / radius, random.uniform(0, 2 * np.pi))
    return SILHOUETTES[number](u, v).astype(np.float64)


def _turned(rows: Array, columns: Array, angle: float) -> tuple[Array, Array]:
    sine, cosine = np.sin(angle), np.cos(angle)
    return cosine * columns + sine * rows, cosine * rows - sine * columns


def _paint(image: Array, mask: NDArray[np.bool_], colour: Array) -> None:
    image[mask] = colour


def _shrunk(image: Array) -> Array:
    """The mean of the samples of every pixel: smooth edges."""
    height, width = (side // SAMPLES for side in image.shape[:2])
    return image.reshape(height, SAMPLES, width, SAMPLES, 3).mean(axis=(1, 3))


def _augmented(image: Array, random: np.random.Generator) -> Array:
    """Mirrored, turned by quarters where the image is square, and recoloured."""
    if flips(random):
        image = image[:, ::-1]
    if image.shape[0] == image.shape[1]:
        image = np.rot90(image, int(random.integers(4)))
    return jitter_colour(image, random)
