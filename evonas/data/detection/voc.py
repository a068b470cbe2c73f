"""Conversion of Pascal VOC boxes to COCO's format.

The layout: http://host.robots.ox.ac.uk/pascal/VOC/ (JPEGImages, Annotations, ImageSets/Main); boxes are corner pixels
counted from one, both inclusive.
"""

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from evonas import files
from evonas.data.io.json_values import flag, shown
from evonas.data.io.pictures import picture_file, picture_size
from evonas.data.io.safe import read_rows, read_xml
from evonas.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAME = re.compile(r"[\w.-]+")
_CLASS = re.compile(r"[\w ./-]{1,64}")


@dataclass(frozen=True, slots=True)
class Boxed:
    """An image and its boxes: class name, x y width height from zero, and whether the object is difficult."""

    file: str
    height: int
    width: int
    boxes: tuple[tuple[str, tuple[float, float, float, float], bool], ...]


@dataclass(slots=True)
class Converted:
    """Summary of a conversion.

    Args:
        images: number of images by part.
        boxes: number of boxes of all parts.
        dropped: for each skipped box the reason.
    """

    images: dict[str, int] = field(default_factory=dict)
    boxes: int = 0
    dropped: list[str] = field(default_factory=list)


def convert(tree: Path, target: Path, parts: Mapping[str, str]) -> Converted:
    """Writes `target`/annotations/instances_<part>.json and `target`/<part>/<images> for each part.

    Boxes are clipped to their images; boxes without a name or an area are skipped and reported. Difficult objects
    become crowds, which are ignored in training and evaluation.

    Args:
        tree: folder of JPEGImages, Annotations and ImageSets/Main.
        target: folder to write to, created if needed.
        parts: maps names of parts to names of lists, such as {"train": "trainval"}.

    Raises:
        DataError: a file is invalid, or there are no boxes; the message names the file.
    """
    found, read = Converted(), dict[str, list[Boxed]]()
    for part, listed in parts.items():
        read[part] = list(_images(tree, listed, found.dropped))
        found.images[part] = len(read[part])
    names = sorted({name for images in read.values() for each in images for name, _, _ in each.boxes})
    if not names:
        raise DataError(f"{tree} has no boxes.", "Check that it is in Pascal VOC's layout.")
    for part, images in read.items():
        found.boxes += sum(len(each.boxes) for each in images)
        folder = target / part
        folder.mkdir(parents=True, exist_ok=True)
        for each in images:
            source = tree / "JPEGImages" / each.file
            files.write_atomic(folder / each.file, partial(shutil.copyfile, source))
        files.write_json(target / "annotations" / f"instances_{part}.json", document(images, names))
    return found


def document(images: Sequence[Boxed], names: Sequence[str]) -> dict[str, Any]:
    """Images as a JSON document in COCO's format; ids count from one."""
    numbers = {name: number for number, name in enumerate(names, start=1)}
    boxes = [(place, *each) for place, image in enumerate(images, start=1) for each in image.boxes]
    return {
        "images": [
            {"id": place, "file_name": each.file, "height": each.height, "width": each.width}
            for place, each in enumerate(images, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": [
            {
                "id": place,
                "image_id": image,
                "category_id": numbers[name],
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": int(difficult),
            }
            for place, (image, name, box, difficult) in enumerate(boxes, start=1)
        ],
    }


def _images(tree: Path, listed: str, dropped: list[str]) -> Iterator[Boxed]:
    known = set[str]()
    for row in read_rows(tree / "ImageSets" / "Main" / f"{listed}.txt"):
        name = row.fields[0]
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise DataError(
                f"{row.where} contains {name!r}, which is not an image name.", "Correct the line."
            )
        if name in known:
            raise DataError(f"{row.where} names the image {name!r} again.", "Remove the line.")
        known.add(name)
        yield _image(tree, name, dropped)


def _image(tree: Path, name: str, dropped: list[str]) -> Boxed:
    path, stem = tree / "Annotations" / f"{name}.xml", tree / "JPEGImages" / name
    image = picture_file(stem) or stem.with_name(f"{name}.jpg")
    # file names and sizes inside these documents are often wrong: a size tells at most whether EXIF turns the image
    annotation = read_xml(path)
    height, width = picture_size(image, sides=_stated_size(annotation))
    boxes = []
    for number, entry in enumerate(annotation.iter("object"), start=1):
        where = f"{path}, object {number}"
        label = (entry.findtext("name") or "").strip()
        box = _box(entry, where, height, width)
        if not _CLASS.fullmatch(label):
            dropped.append(f"{where} has the invalid name {label!r}")
        elif min(box[2:]) <= 0:
            dropped.append(f"{where} has a box without area")
        else:
            boxes.append((label, box, _is_difficult(entry, where)))
    return Boxed(image.name, height, width, tuple(boxes))


def _stated_size(annotation: Element) -> tuple[int, int] | None:
    """Height and width of a document; None unless both are positive integers."""
    texts = [(annotation.findtext(f"size/{key}") or "").strip() for key in ("height", "width")]
    if not all(text.isdecimal() and len(text) < 7 and int(text) for text in texts):
        return None
    return int(texts[0]), int(texts[1])


def _is_difficult(entry: Element, where: str) -> bool:
    text = (entry.findtext("difficult") or "0").strip()
    found = flag(text)
    if found is None:
        raise DataError(f"{where}: difficult must be 0 or 1, got {shown(text)}.", "Correct the object.")
    return found


def _box(entry: Element, where: str, height: int, width: int) -> tuple[float, float, float, float]:
    """x y width height from zero, clipped to the image; size zero for equal corners, which are mouse clicks."""
    try:
        left, top, right, bottom = (float(entry.findtext(f"bndbox/{key}") or "") for key in CORNERS)
    except ValueError as error:
        raise DataError(
            f"{where} must have a bndbox of four numbers.", "Fix or remove the object."
        ) from error
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise DataError(
            f"{where} must have a bndbox of finite numbers, got {[left, top, right, bottom]}.",
            "Fix or remove the object.",
        )
    if not (right > left and bottom > top):
        return left, top, 0.0, 0.0
    left, top = max(left - 1, 0.0), max(top - 1, 0.0)
    return left, top, min(right, float(width)) - left, min(bottom, float(height)) - top
