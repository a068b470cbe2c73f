"""Pictures with one class each: what folders and shards of them have in common.

Legend: H W space.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evonas.data.base import Images, Item, Split, seeded
from evonas.data.classification.augment import Views, drawn
from evonas.errors import DataError, UserError
from evonas.randomness import derive, generator

Part = Literal["train", "test"]
Places = NDArray[np.int64]


class Shelf(Protocol):
    """The pictures of one part in a fixed order; none is decoded before it is opened."""

    labels: Places

    def open(self, place: int) -> Image.Image: ...

    def describe(self, place: int) -> str: ...


class LabelledImageSource(ABC):
    """A source whose `holdout` is cut from the training part, class by class.

    Args:
        num_classes: known before anything is read, because heads are built before.
        views: how pictures become tensors.
        seed: decides which pictures are held out; keep it fixed to compare runs.
        augment_seed: decides the augmentation of `train`.
        holdout: the share of every class that is held out.
    """

    def __init__(self, num_classes: int, views: Views, seed: int, augment_seed: int, holdout: float) -> None:
        if num_classes < 2:
            raise UserError(f"data.num_classes={num_classes} leaves nothing to tell apart.")
        if not 0 < holdout < 1:
            raise UserError(f"data.holdout={holdout} is no share of a class.", "Try data.holdout=0.02.")
        self.num_classes, self.views, self.size = num_classes, views, views.size
        self.seed, self.augment_seed, self.holdout = seed, augment_seed, holdout
        self._places: dict[Split, Places] = {}

    @abstractmethod
    def shelf(self, part: Part) -> Shelf:
        """The pictures of a part; read at the first call, the same afterwards."""

    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """Names in the order of their numbers."""

    def dataset(self, split: Split) -> "LabelledImages":
        """One split; nothing is read before its length or an item is asked for."""
        return LabelledImages(split, self)

    def labels(self, split: Split) -> Sequence[int]:
        """The classes of a split; no picture is opened."""
        labels: list[int] = self.shelf(part_of(split)).labels[self.places(split)].tolist()
        return labels

    def places(self, split: Split) -> Places:
        """Where the items of a split lie on the shelf of its part."""
        if split not in self._places:
            self._places[split] = self._chosen(split)
        return self._places[split]

    def _chosen(self, split: Split) -> Places:
        labels = self.shelf(part_of(split)).labels
        if split == "test":
            return np.arange(len(labels))
        held = held_out(labels, self.holdout, self.seed)
        chosen = np.flatnonzero(held if split == "holdout" else ~held)
        if len(chosen) == 0:
            raise DataError(
                f"{len(labels)} training pictures leave none for the {split} split.",
                "Every class needs two pictures or more.",
            )
        return chosen


class LabelledImages(Images):
    """Items: image (3 H W) and label; while pictures are mixed also partner and share (see the task)."""

    def __init__(self, split: Split, source: LabelledImageSource) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return len(self._source.places(self.split))

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        views, (picture, label) = self._source.views, self._read(index)
        if not (self.augment and self.split == "train"):
            return {"image": views.evaluation(picture), "label": torch.tensor(label)}
        with drawn(derive(self._source.augment_seed, f"augment/{self.epoch}", index)):
            view = views.training(picture)
            if not views.mixes:
                return {"image": view, "label": torch.tensor(label)}
            other, partner = self._read(int(torch.randint(len(self), ())))
            view, share = views.mixed(view, views.training(other))
        return {
            "image": view,
            "label": torch.tensor(label),
            "partner": torch.tensor(partner),
            "share": torch.tensor(share),
        }

    def _read(self, index: int) -> tuple[Image.Image, int]:
        place = int(self._source.places(self.split)[index])
        shelf = self._source.shelf(part_of(self.split))
        return shelf.open(place).convert("RGB"), int(shelf.labels[place])

    def manifest(self) -> str:
        """The sha256 of names, classes and sizes in bytes; pixels are not read."""
        source, digest = self._source, hashlib.sha256()
        shelf = source.shelf(part_of(self.split))
        digest.update(seeded(source="labelled", split=self.split, size=source.size).encode())
        for place in source.places(self.split).tolist():
            digest.update(f"\n{shelf.describe(place)} {shelf.labels[place]}".encode())
        return digest.hexdigest()


def part_of(split: Split) -> Part:
    """Where a split is read from: `holdout` is cut from the training part."""
    return "test" if split == "test" else "train"


def held_out(labels: Places, share: float, seed: int) -> NDArray[np.bool_]:
    """Which pictures are held out: of every class the share, at least one, and never all."""
    held = np.zeros(len(labels), dtype=bool)
    for number in np.unique(labels).tolist():
        places = np.flatnonzero(labels == number)
        count = min(len(places) - 1, max(1, round(share * len(places))))
        held[generator(seed, "holdout", number).permutation(places)[:count]] = True
    return held
