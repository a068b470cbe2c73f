"""Detection data in COCO's format: a JSON file of annotations and a folder of images per split.

Legend: N objects, M side of a mask in an item, H W space.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evonas.command_text import command, setting
from evonas.data.augment import flips, normalise
from evonas.data.base import Images, Item, Split, check_size, file_size, seeded
from evonas.data.detection.base import EMPTY, MASK_SIDE, Objects
from evonas.data.detection.coco_annotations import AnnotatedImage, Instances, read_instances
from evonas.data.detection.instance_masks import cut, decoded
from evonas.data.examined import Examined
from evonas.data.io.folders import list_images
from evonas.data.io.groups import grouping, held_groups, refuse_one_group
from evonas.data.io.pictures import open_picture, orientation_note
from evonas.data.io.safe import below, is_file
from evonas.data.io.split_lists import Folders, refuse_missing, refuse_shared
from evonas.data.statement import ClassCounts
from evonas.errors import DataError, UserError
from evonas.randomness import generator

log = logging.getLogger(__name__)

TREE = """\
<root>/annotations/instances_{train}.json   <root>/{train}/<name>.jpg
<root>/annotations/instances_{test}.json    <root>/{test}/<name>.jpg
Other names: data.train=<folder> data.test=<folder> and instances_<folder>.json."""
TRAIN, TEST = 0, 1


class Coco:
    """A source of images with objects; `holdout` is a random part of the training images, `test` is `val2017`.

    Images are scaled with their aspect ratio to fit height x width, and padded at the right and the bottom with the
    mean colour. The paper instead scales to 800 pixels of the shorter and at most 1333 of the longer side, and pads
    within a batch.

    Args:
        root: folder of `annotations` and the folders of images.
        height, width: size of the padded images in pixels, multiples of 32.
        num_classes: number of classes in the annotations; None to read it when the head is built.
        masks: whether objects have masks.
        train, test: folders of the training and test images.
        validation: share of the training images in the validation split, in (0, 1).
        validation_groups: rule that names the group of an image by its file_name, see `Grouping`; groups lie in one
            split. None to cut between single images.
        seed: seed of that split; keep it fixed to compare runs.
        augment_seed: seed of the augmentation of `train`.
        vertical: whether training images are also flipped vertically, for data such as aerial images.
        max_pixels: larger images are refused.

    Raises:
        UserError: validation is outside (0, 1), or a size is not a multiple of 32.
    """

    def __init__(
        self,
        root: str,
        height: int = 800,
        width: int = 1280,
        num_classes: int | None = None,
        masks: bool = False,
        train: str = "train2017",
        test: str = "val2017",
        validation: float = 0.02,
        seed: int = 0,
        augment_seed: int = 0,
        vertical: bool = False,
        max_pixels: int = 64_000_000,
        validation_groups: str | int | None = None,
    ) -> None:
        if not 0 < validation < 1:
            raise UserError(
                f"data.validation must be in (0, 1), got {validation}.", "Try data.validation=0.02."
            )
        self.root, self.size, self.has_masks = Path(root), check_size(height, width), masks
        self.num_classes, self.validation, self.seed = num_classes, validation, seed
        self.augment_seed, self.vertical, self.max_pixels = augment_seed, vertical, max_pixels
        self.validation_groups, self.grouping = validation_groups, grouping(validation_groups)
        self._folders = (train, test)
        self._read: dict[int, Instances] = {}
        self._paths: dict[int, list[Path]] = {}

    def dataset(self, split: Split) -> "CocoImages":
        """One split; the annotations are read on first use of its length or items."""
        return CocoImages(split, self)

    def class_names(self) -> tuple[str, ...]:
        """Category names of the training annotations, in the order of their ids."""
        return self.instances(TRAIN).classes

    def instances(self, part: int) -> Instances:
        """The annotations of a part (TRAIN or TEST), read once.

        Raises:
            DataError: the file is missing or damaged, or has unexpected classes.
        """
        if part not in self._read:
            path = self.root / "annotations" / f"instances_{self._folders[part]}.json"
            if not path.is_file():
                raise DataError(f"{path} does not exist.", self._expected())
            found = read_instances(path, self.has_masks, self.max_pixels)
            if self.num_classes not in (None, len(found.classes)):
                raise DataError(
                    f"{path} has {len(found.classes)} classes, not {self.num_classes}.",
                    f"Set data.num_classes={len(found.classes)}.",
                )
            self._check_files(part, path, found)
            if part == TEST and found.classes != self.class_names():
                raise DataError(
                    f"{path} has other classes than the training annotations.", "Use equal categories."
                )
            self._read[part] = found
        return self._read[part]

    def _expected(self) -> str:
        """What to type where there are no annotations."""
        if (self.root / "Annotations").is_dir() and (self.root / "ImageSets").is_dir():
            words = (
                setting("stage.voc", str(self.root)),
                setting("stage.coco", f"{self.root.name or 'voc'}_coco"),
            )
            convert = command("convert", *words)
            return f"{self.root} has the folders of Pascal VOC: set data.root to the folder that this writes: {convert}"
        train, test = self._folders
        return f"Set data.root=<root>, where:\n{TREE.format(train=train, test=test)}"

    def _check_files(self, part: int, document: Path, found: Instances) -> None:
        """Refuses missing images and images that are in both parts; images without an entry are counted.

        Raises:
            MissingFilesError: images are missing, so that it does not happen during training or at its end.
            DataError: training and test documents name the same images.
        """
        folder, folders = self.root / self._folders[part], Folders()
        # a name that might lead elsewhere is resolved and checked, the others are looked up in their folder's listing
        paths = [
            folder / each.file if _is_plain(each.file) else self.path(part, each) for each in found.images
        ]
        missing = [path for path in paths if not folders.has(path) and not is_file(path)]
        refuse_missing(missing, len(paths), document.name)
        listed = {path.name for path in paths if path.parent == folder}
        unused = [path for path in list_images(folder).images if path.name not in listed] if listed else []
        if unused:
            log.warning(
                "Skipped: %d images in %s, such as %s, which %s does not name.",
                len(unused),
                folder,
                unused[0].name,
                document.name,
            )
        self._paths[part] = paths
        if len(self._paths) == 2:
            refuse_shared(self._paths[TRAIN], self._paths[TEST], ("train", "test"))

    def objects(self, part: int, place: int) -> Objects:
        """All objects of an image, in pixels of its file."""
        return self.instances(part).images[place].objects

    def places(self, split: Split) -> list[int]:
        """Indices of a split's images among those of its part."""
        part = part_of(split)
        count = len(self.instances(part).images)
        if part == TEST:
            return list(range(count))
        if count < 2:
            raise DataError(f"At least two training images are needed, got {count}.", "Check data.train.")
        if self.grouping is not None:
            groups = [self.grouping.group(each.file) for each in self.instances(part).images]
            refuse_one_group(groups, self.validation_groups)
            is_held = held_groups(groups, self.validation, self.seed)
            return np.flatnonzero(is_held if split == "holdout" else ~is_held).tolist()
        held = min(count - 1, max(1, round(self.validation * count)))
        order = generator(self.seed, "holdout").permutation(count)
        return sorted((order[:held] if split == "holdout" else order[held:]).tolist())

    def read(self, part: int, place: int) -> Image.Image:
        """Decodes an image.

        Raises:
            DataError: its size differs from the annotations.
        """
        annotated = self.instances(part).images[place]
        path = self.path(part, annotated)
        wanted = annotated.objects.height, annotated.objects.width
        image = open_picture(path, self.max_pixels, sides=wanted)
        if (image.height, image.width) != wanted:
            note = orientation_note(path, self.max_pixels)
            raise DataError(
                f"{path} is {image.height}x{image.width}{note}, but its annotations are for {wanted[0]}x{wanted[1]}.",
                "Use the images that belong to the annotations.",
            )
        return image

    def path(self, part: int, annotated: AnnotatedImage) -> Path:
        """The path of an image; a DataError if it leaves the folder."""
        folder = (self.root / self._folders[part]).resolve()
        return below(folder, annotated.file, f"instances_{self._folders[part]}.json")


class CocoImages(Images):
    """Items of `evonas/data/detection/base.py`; N is the largest number of objects in an image of the part."""

    def __init__(self, split: Split, source: Coco) -> None:
        super().__init__(split)
        self._source, self._part = source, part_of(split)
        self._places: list[int] | None = None
        self._most = 0

    @property
    def places(self) -> list[int]:
        """Indices of this split's images."""
        if self._places is None:
            images = self._source.instances(self._part).images
            self._most = max(1, *(len(each.objects.single()) for each in images))
            self._places = self._source.places(self.split)
        return self._places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        place = self.places[self.position(index)]
        source, objects = self._source, self._source.objects(self._part, place)
        mirrors = (False, False)
        if self.augment and self.split == "train":
            random = generator(source.augment_seed, f"augment/{self.epoch}", index)
            mirrors = flips(random), flips(random) and source.vertical
        fit = Fit.of(objects, source.size, mirrors)
        found = {"image": fit.image(source.read(self._part, place), source.size)}
        if source.has_masks:
            found["masks"] = fit.masks(objects, self._most)
        return found | self._described(place, fit)

    def described(self, index: int) -> Item:
        """An item without augmentation, image and masks; opens no image."""
        place = self.places[self.position(index)]
        objects = self._source.objects(self._part, place)
        return self._described(place, Fit.of(objects, self._source.size, (False, False)))

    def _described(self, place: int, fit: "Fit") -> Item:
        boxes, labels = fit.truth(self._source.objects(self._part, place), self._most)
        return {
            "boxes": boxes,
            "labels": labels,
            "scale": torch.tensor(fit.scale, dtype=torch.float32),
            "picture": torch.tensor([self._part, place]),
        }

    def class_names(self) -> tuple[str, ...]:
        """The categories of the training annotations."""
        return self._source.class_names()

    def examine(self, index: int) -> Examined:
        """Image and objects except crowds, in pixels of the file, with the masks if the source has them."""
        place, source = self.places[self.position(index)], self._source
        annotated = source.instances(self._part).images[place]
        objects, rule = annotated.objects, source.grouping
        single = objects.single()
        return Examined(
            annotated.file,
            np.asarray(source.read(self._part, place)),
            file=source.path(self._part, annotated),
            group=None if rule is None else rule.group(annotated.file),
            boxes=objects.boxes[single],
            labels=objects.labels[single],
            masks=partial(_covered, objects) if source.has_masks else None,
        )

    def class_counts(self) -> ClassCounts:
        """Objects of each class except crowds; opens no image."""
        names = self._source.class_names()
        counts = np.zeros(len(names), dtype=np.int64)
        for place in self.places:
            objects = self._source.objects(self._part, place)
            counts += np.bincount(objects.labels[objects.single()], minlength=len(names))
        return ClassCounts(names, tuple(counts.tolist()), "object", len(self), len(self))

    def manifest(self) -> str:
        """The sha256 of file names, file sizes and annotations; pixels are not read."""
        source, digest = self._source, hashlib.sha256()
        digest.update(
            seeded(source="coco", split=self.split, size=source.size, masks=source.has_masks).encode()
        )
        digest.update("\n".join(source.class_names()).encode())
        for place in self.places:
            annotated = source.instances(self._part).images[place]
            objects, size = annotated.objects, file_size(source.path(self._part, annotated))
            digest.update(f"\n{annotated.file} {size} {objects.height} {objects.width} ".encode())
            for array in (objects.boxes, objects.labels, objects.areas, objects.crowd):
                digest.update(array.tobytes())
            digest.update(repr(objects.shapes).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Fit:
    """The mapping from an image file to the padded image of an item.

    Args:
        scale: factors of x and y.
        height, width: size of the scaled image in pixels.
        mirrors: whether the image is flipped horizontally, and vertically.
    """

    scale: tuple[float, float]
    height: int
    width: int
    mirrors: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, objects: Objects, size: tuple[int, int], mirrors: tuple[bool, bool]) -> "Fit":
        """The mapping with the largest scale that fits `size`."""
        factor = min(size[0] / objects.height, size[1] / objects.width)
        height = min(size[0], max(1, round(objects.height * factor)))
        width = min(size[1], max(1, round(objects.width * factor)))
        return cls((width / objects.width, height / objects.height), height, width, mirrors)

    def image(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        """The scaled, flipped, normalised and padded image, 3 H W."""
        scaled = np.asarray(image.resize((self.width, self.height), Image.Resampling.BILINEAR))
        horizontal, vertical = self.mirrors
        scaled = scaled[:: -1 if vertical else 1, :: -1 if horizontal else 1]
        canvas = torch.zeros(3, *size)
        canvas[:, : self.height, : self.width] = normalise(scaled.astype(np.float32) / 255)
        return canvas

    def boxes(self, found: NDArray[np.float64]) -> NDArray[np.float32]:
        """Boxes N 4 of the file as boxes of the item."""
        moved = found * np.tile(self.scale, 2)
        for axis, side in ((0, self.width), (1, self.height)):
            if self.mirrors[axis]:
                moved[:, [axis, axis + 2]] = side - moved[:, [axis + 2, axis]]
        return moved.astype(np.float32)

    def truth(self, objects: Objects, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes and labels of the objects that are not crowds, padded to `most`."""
        single = objects.single()
        boxes, labels = torch.zeros(most, 4), torch.full((most,), EMPTY)
        boxes[: len(single)] = torch.from_numpy(self.boxes(objects.boxes[single]))
        labels[: len(single)] = torch.from_numpy(objects.labels[single])
        return boxes, labels

    def masks(self, objects: Objects, most: int) -> torch.Tensor:
        """Masks of the same objects, each cropped to its box, `most` M M."""
        found = torch.zeros(most, MASK_SIDE, MASK_SIDE, dtype=torch.uint8)
        horizontal, vertical = self.mirrors
        for row, place in enumerate(objects.single()):
            left, top, right, bottom = objects.boxes[place].tolist()
            box, shape = (left, top, right, bottom), objects.shapes[place]
            mask = cut(shape, objects.height, objects.width, box, MASK_SIDE)
            turned = mask[:: -1 if vertical else 1, :: -1 if horizontal else 1]
            found[row] = torch.from_numpy(turned.copy())
        return found


def _covered(objects: Objects) -> NDArray[np.int32]:
    """The class id of the object whose mask covers a pixel, H W, -1 where none does; small objects over large."""
    found = np.full((objects.height, objects.width), -1, dtype=np.int32)
    single = objects.single()
    for place in single[np.argsort(-objects.areas[single], kind="stable")]:
        mask = decoded(objects.shapes[place], objects.height, objects.width)
        found[mask > 0] = objects.labels[place]
    return found


def _is_plain(name: str) -> bool:
    return name.isascii() and ".." not in name and not name.startswith("/")


def part_of(split: Split) -> int:
    """The part that contains a split; `holdout` is taken from the training part."""
    return TEST if split == "test" else TRAIN


def on_file(boxes: NDArray[np.float64], scale: Sequence[float], objects: Objects) -> NDArray[np.float64]:
    """Boxes N 4 of an item without flips as boxes of the file, clipped to the image."""
    moved = boxes / np.tile(np.asarray(scale, dtype=np.float64), 2)
    return np.clip(moved, 0, np.tile([objects.width, objects.height], 2))
