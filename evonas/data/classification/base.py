"""Base of image classification sources: images with one class each.

Legend: H W space.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evonas.data.base import Images, Item, Split, seeded
from evonas.data.classification.augment import Views, drawn
from evonas.data.examined import Examined
from evonas.data.io.groups import grouping, held_groups, refuse_one_group
from evonas.data.statement import ClassCounts
from evonas.errors import DataError, UserError
from evonas.randomness import derive, generator

Part = Literal["train", "test"]
Places = NDArray[np.int64]


class Shelf(Protocol):
    """The images of one part in a fixed order, decoded when they are opened."""

    labels: Places

    def open(self, place: int) -> Image.Image: ...

    def describe(self, place: int) -> str: ...

    def name(self, place: int) -> str: ...

    def file(self, place: int) -> Path | None: ...


class LabelledImageSource(ABC):
    """A classification source whose `holdout` is a stratified part of the training images.

    Args:
        num_classes: number of classes; given, since heads are built before data are read.
        views: conversion of images to tensors.
        seed: seed of the validation split; keep it fixed to compare runs.
        augment_seed: seed of the augmentation of `train`.
        validation: share of the images of each class in `holdout`, in (0, 1).
        validation_groups: rule that names the group of an image by its path, see `Grouping`; groups lie in one split.
            None to cut between single images.

    Raises:
        UserError: num_classes is below 2, or validation is outside (0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        views: Views,
        seed: int,
        augment_seed: int,
        validation: float,
        validation_groups: str | int | None = None,
    ) -> None:
        if num_classes < 2:
            raise UserError(f"data.num_classes must be at least 2, got {num_classes}.")
        if not 0 < validation < 1:
            raise UserError(
                f"data.validation must be in (0, 1), got {validation}.", "Try data.validation=0.02."
            )
        self.num_classes, self.views, self.size = num_classes, views, views.size
        self.seed, self.augment_seed, self.validation = seed, augment_seed, validation
        self.validation_groups, self.grouping = validation_groups, grouping(validation_groups)
        self._places: dict[Split, Places] = {}

    @abstractmethod
    def shelf(self, part: Part) -> Shelf:
        """The images of a part, listed at the first call."""

    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """Class names in the order of their ids."""

    def dataset(self, split: Split) -> "LabelledImages":
        """One split; files are read on first use of its length or items."""
        return LabelledImages(split, self)

    def labels(self, split: Split) -> Sequence[int]:
        """The labels of a split; opens no image."""
        labels: list[int] = self.shelf(part_of(split)).labels[self.places(split)].tolist()
        return labels

    def places(self, split: Split) -> Places:
        """Indices of a split's items among the images of its part."""
        if split not in self._places:
            self._places[split] = self._chosen(split)
        return self._places[split]

    def _chosen(self, split: Split) -> Places:
        shelf = self.shelf(part_of(split))
        labels = shelf.labels
        if split == "test":
            return np.arange(len(labels))
        held = self.held_out(shelf, self.validation, self.seed)
        chosen = np.flatnonzero(held if split == "holdout" else ~held)
        if len(chosen) == 0:
            raise DataError(
                f"The {split} split is empty: there are {len(labels)} training images.",
                "Every class needs at least two images.",
            )
        return chosen

    def held_out(self, shelf: Shelf, share: float, seed: int) -> NDArray[np.bool_]:
        """The mask of held-out images: `share` of each class, cut between whole groups if there are any."""
        if self.grouping is None:
            return held_out(shelf.labels, share, seed)
        groups = [self.grouping.group(shelf.name(place)) for place in range(len(shelf.labels))]
        refuse_one_group(groups, self.validation_groups)
        return held_groups(groups, share, seed, shelf.labels.tolist())


class LabelledImages(Images):
    """Items: image (3 H W) and label; with mixup or cutmix also partner and share (see the task)."""

    def __init__(self, split: Split, source: LabelledImageSource) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return len(self._source.places(self.split))

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        views, (image, label) = self._source.views, self._read(index)
        if not (self.augment and self.split == "train"):
            return {"image": views.evaluation(image), "label": torch.tensor(label)}
        with drawn(derive(self._source.augment_seed, f"augment/{self.epoch}", index)):
            view = views.training(image)
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

    def class_names(self) -> tuple[str, ...]:
        """The classes of the source."""
        return tuple(self._source.class_names())

    def examine(self, index: int) -> Examined:
        """Image and label."""
        place, source = int(self._source.places(self.split)[self.position(index)]), self._source
        image, label = self._read(index)
        shelf = source.shelf(part_of(self.split))
        name, rule = shelf.name(place), source.grouping
        return Examined(
            name,
            np.asarray(image),
            file=shelf.file(place),
            group=None if rule is None else rule.group(name),
            label=label,
        )

    def class_counts(self) -> ClassCounts:
        """Images of each class; opens none."""
        names, labels = tuple(self._source.class_names()), self._source.labels(self.split)
        counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(names)).tolist()
        is_shifted = not counts[0] and all(counts[1:])
        hint = "If the class ids in the files begin at 1, write them from 0." if is_shifted else ""
        return ClassCounts(names, tuple(counts), "image", len(labels), len(labels), hint)

    def manifest(self) -> str:
        """The sha256 of names, classes and sizes in bytes, without reading pixels."""
        source, digest = self._source, hashlib.sha256()
        shelf = source.shelf(part_of(self.split))
        digest.update(seeded(source="labelled", split=self.split, size=source.size).encode())
        for place in source.places(self.split).tolist():
            digest.update(f"\n{shelf.describe(place)} {shelf.labels[place]}".encode())
        return digest.hexdigest()


def part_of(split: Split) -> Part:
    """The part that contains a split; `holdout` is taken from the training part."""
    return "test" if split == "test" else "train"


def held_out(labels: Places, share: float, seed: int) -> NDArray[np.bool_]:
    """The mask of held-out images: `share` of each class, at least one image and never all."""
    held = np.zeros(len(labels), dtype=bool)
    for number in np.unique(labels).tolist():
        places = np.flatnonzero(labels == number)
        count = min(len(places) - 1, max(1, round(share * len(places))))
        held[generator(seed, "holdout", number).permutation(places)[:count]] = True
    return held
