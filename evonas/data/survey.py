"""Looks at every image of a split and its ground truth, and counts what a person would want to know before training.

Legend: C classes, F features of a thumbnail, H W space.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Images, Split
from evonas.data.examined import IGNORE, Examinable, Examined, examine, spread
from evonas.data.io.pictures import exif_orientation, file_kind, is_deep
from evonas.data.io.split_lists import number_on_disk
from evonas.data.near_duplicates import Features, thumbnail
from evonas.data.statement import DeepImages
from evonas.errors import DataError

# bounds of the depth histogram in metres; each is 2 ** (1/2) times the one before
DEPTH_BOUNDS = tuple(2.0 ** (step / 2) for step in range(-10, 21))
# pixels of a depth map that are counted
_DEPTHS = 20_000
# images that threads decode ahead
_AHEAD = 32


@dataclass(eq=False)
class SplitSurvey:
    """What a split contains.

    Args:
        split: its name.
        total: number of images.
        class_names: names of the classes; empty for depth.
        unit: what is counted of each class: pixel, object or image; depth for depth maps.
        read: number of images that were looked at.
        sizes: number of images by height and width.
        kinds, truth_kinds: number of files by format, mode and bits.
        orientations: number of images by EXIF orientation.
        deep: what images of 16 bits use of them.
        counts: units of each class, C.
        images_with: images in which each class occurs, C.
        ignored, pixels: number of ignored or unmeasured pixels of ground truth, and of all.
        unknown: pixels of values or colours that mean no class.
        unknown_in: masks with each of these.
        unknown_masks: names of the masks with any of them.
        hint: what to type about these.
        depths: number of measured pixels between `DEPTH_BOUNDS`; the first and last also count those beyond.
        sampled_depths: measured and unknown (0) depths in metres of pixels from all images.
        limits: depths in metres that count.
        objects: objects of each image that has boxes.
        empty: names of the images whose ground truth shows nothing.
        turned: names of the images that EXIF turns.
        errors: what was wrong with images that cannot be used, by name.
        names: names of the other images, in order.
        groups: groups of these images.
        repeated: names of images that are one file with an image before, and the name of that one.
        thumbnails: of the same images, N F.
        name_of: the first name of each file by its number on the disk.
        examples: reduced images to be shown.
    """

    split: Split
    total: int
    class_names: tuple[str, ...] = ()
    unit: str = "image"
    read: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    truth_kinds: Counter[str] = field(default_factory=Counter)
    orientations: Counter[int] = field(default_factory=Counter)
    deep: DeepImages = field(default_factory=DeepImages)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    images_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    ignored: int = 0
    pixels: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    unknown_in: Counter[str] = field(default_factory=Counter)
    unknown_masks: list[str] = field(default_factory=list)
    hint: str = ""
    depths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(DEPTH_BOUNDS) - 1, dtype=np.int64))
    sampled_depths: list[NDArray[np.float32]] = field(default_factory=list)
    limits: tuple[float, float] = (0.0, float("inf"))
    objects: Counter[int] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    errors: list[tuple[str, DataError]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    groups: Counter[str] = field(default_factory=Counter)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    name_of: dict[object, str] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    thumbnails: list[Features] = field(default_factory=list)
    examples: list[Examined] = field(default_factory=list)

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that do not occur."""
        return tuple(name for name, count in zip(self.class_names, self.counts, strict=True) if not count)

    def add(self, place: int, found: Examined) -> None:
        """Counts one image."""
        self.names.append(found.name)
        self.places.append(place)
        if found.group is not None:
            self.groups[found.group] += 1
        if found.picture is not None:
            height, width = found.picture.shape[:2]
            self.sizes[height, width] += 1
            self.thumbnails.append(thumbnail(found.picture))
        if found.file is not None:
            first = self.name_of.setdefault(number_on_disk(found.file) or found.file, found.name)
            if first != found.name:
                self.repeated.append((found.name, first))
            self.kinds[file_kind(found.file)] += 1
            if found.picture is not None and is_deep(found.file):
                self.deep = self.deep.with_one(found.picture)
            turn = exif_orientation(found.file)
            self.orientations[turn] += 1
            if turn != 1:
                self.turned.append(found.name)
        if found.truth_file is not None:
            self.truth_kinds[file_kind(found.truth_file)] += 1
        if found.classes is not None:
            self._add_classes(found, found.classes)
        elif found.depth is not None:
            self._add_depth(found.name, found.depth)
        elif found.labels is not None:
            self.unit = "object"
            self.objects[len(found.labels)] += 1
            self._count(np.bincount(found.labels, minlength=len(self.class_names)))
            if not len(found.labels):
                self.empty.append(found.name)
        elif found.label is not None:
            self._count(np.bincount([found.label], minlength=len(self.class_names)))

    def _add_classes(self, found: Examined, classes: NDArray[np.uint8]) -> None:
        self.unit = "pixel"
        counts = np.bincount(classes.ravel(), minlength=IGNORE + 1)
        self.ignored += int(counts[IGNORE])
        self.pixels += classes.size
        used = len(self.class_names) or int(counts[:IGNORE].nonzero()[0].max(initial=-1)) + 1
        self._count(counts[:used])
        if counts[IGNORE] == classes.size:
            self.empty.append(found.name)
        if found.unknown:
            self.unknown.update(found.unknown)
            self.unknown_in.update(found.unknown.keys())
            self.unknown_masks.append(found.name)
            self.hint = self.hint or found.hint

    def _add_depth(self, name: str, depth: NDArray[np.float32]) -> None:
        self.unit = "depth"
        flat = depth.ravel()
        known = flat[flat > 0]
        self.pixels += flat.size
        self.ignored += flat.size - len(known)
        self.sampled_depths.append(flat[:: max(1, len(flat) // _DEPTHS)])
        inside = np.clip(known, DEPTH_BOUNDS[0], np.nextafter(np.float32(DEPTH_BOUNDS[-1]), np.float32(0)))
        self.depths += np.histogram(inside, DEPTH_BOUNDS)[0]
        if not len(known):
            self.empty.append(name)

    def _count(self, counts: NDArray[np.int64]) -> None:
        """Adds to the classes, of which generated data may name none."""
        if len(counts) > len(self.counts):
            more = np.zeros(len(counts) - len(self.counts), dtype=np.int64)
            self.counts, self.images_with = (
                np.append(each, more) for each in (self.counts, self.images_with)
            )
            named = len(self.class_names)
            self.class_names += tuple(f"class {number}" for number in range(named, len(counts)))
        self.counts[: len(counts)] += counts
        self.images_with[: len(counts)] += counts > 0


@runtime_checkable
class HasLimits(Protocol):
    """A dataset of depth that says between which depths in metres measurements count."""

    def limits(self) -> tuple[float, float]: ...


def survey(
    images: Images,
    at_most: int | None = None,
    examples: int = 0,
    side: int = 320,
    step: Callable[[], None] = lambda: None,
    class_names: Sequence[str] = (),
) -> SplitSurvey:
    """Looks at the images of a split.

    Args:
        images: the split.
        at_most: number of evenly spaced images that are looked at; None for all.
        examples: number of evenly spaced images that are kept to be shown.
        side: longer side of these in pixels.
        step: called after each image.
        class_names: names of the classes if the split does not know them.
    """
    total = len(images)
    found = SplitSurvey(images.split, total)
    found.class_names = tuple(class_names)
    if isinstance(images, Examinable):
        found.class_names = images.class_names()
    if isinstance(images, HasLimits):
        found.limits = images.limits()
    found.counts = np.zeros(len(found.class_names), dtype=np.int64)
    found.images_with = found.counts.copy()
    places = spread(total, total if at_most is None else at_most)
    shown = {places[index] for index in spread(len(places), examples)}
    for place, result in _examined(images, places):
        found.read += 1
        if isinstance(result, DataError):
            found.errors.append((f"item {place}", result))
        else:
            found.add(place, result)
            if place in shown and result.picture is not None:
                found.examples.append(result.reduced(side))
        step()
    return found


def _examined(images: Images, places: Sequence[int]) -> Iterator[tuple[int, Examined | DataError]]:
    """Each image, or what is wrong with it, in order; threads decode a few ahead."""

    def attempt(place: int) -> Examined | DataError:
        try:
            return examine(images, place)
        except DataError as error:
            return error

    if not places:
        return
    first = attempt(places[0])
    yield places[0], first
    # files of their own can be read at once; tables keep a part of themselves in memory
    is_of_files = isinstance(first, Examined) and first.file is not None
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1) if is_of_files else 1) as pool:
        for start in range(1, len(places), _AHEAD):
            part = places[start : start + _AHEAD]
            yield from zip(part, pool.map(attempt, part), strict=True)
