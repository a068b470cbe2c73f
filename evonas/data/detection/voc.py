"""A Pascal VOC tree of boxes as COCO's documents.

The layout: http://host.robots.ox.ac.uk/pascal/VOC/ (JPEGImages, Annotations, ImageSets/Main); boxes are
corners counted from one, both included.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from evonas import files
from evonas.data.io.safe import image_size, read_rows, read_xml
from evonas.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAME = re.compile(r"[\w.-]+")
_CLASS = re.compile(r"[\w ./-]{1,64}")


@dataclass(frozen=True, slots=True)
class Boxed:
    """An image and its boxes: the name of a class, and x y width height from zero."""

    file: str
    height: int
    width: int
    boxes: tuple[tuple[str, tuple[float, float, float, float], bool], ...]


@dataclass(slots=True)
class Converted:
    """What became of a tree.

    Args:
        images: by part.
        boxes: of all parts.
        dropped: what was wrong with each box that was left out.
    """

    images: dict[str, int] = field(default_factory=dict)
    boxes: int = 0
    dropped: list[str] = field(default_factory=list)


def convert(tree: Path, target: Path, parts: Mapping[str, str]) -> Converted:
    """Write `target`/annotations/instances_<part>.json and `target`/<part>/<images> for each part.

    Boxes that reach beyond their image are clipped; those without a name or an area are left out, and
    reported. Difficult objects become crowds: they count neither for nor against a detector.

    Args:
        tree: holds JPEGImages, Annotations and ImageSets/Main.
        target: made where needed.
        parts: from the part's name to that of its list, such as {"train": "trainval"}.

    Raises:
        DataError: naming the file.
    """
    found, read = Converted(), dict[str, list[Boxed]]()
    for part, listed in parts.items():
        read[part] = list(_images(tree, listed, found.dropped))
        found.images[part] = len(read[part])
    names = sorted({name for images in read.values() for each in images for name, _, _ in each.boxes})
    if not names:
        raise DataError(f"{tree} has no boxes.", "Check that it is a Pascal VOC tree.")
    for part, images in read.items():
        found.boxes += sum(len(each.boxes) for each in images)
        _copy(tree, target / part, images)
        files.write_json(target / "annotations" / f"instances_{part}.json", document(images, names))
    return found


def document(images: Sequence[Boxed], names: Sequence[str]) -> dict[str, Any]:
    """Images as COCO's document; ids count from one."""
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
    for row in read_rows(tree / "ImageSets" / "Main" / f"{listed}.txt"):
        name = row.fields[0]
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise DataError(
                f"{row.where} contains {name!r}, which is not an image name.", "Correct the line."
            )
        yield _image(tree, name, dropped)


def _image(tree: Path, name: str, dropped: list[str]) -> Boxed:
    # the names of files and their sizes inside these documents are often those of somebody else's disk
    path, image = tree / "Annotations" / f"{name}.xml", tree / "JPEGImages" / f"{name}.jpg"
    height, width = image_size(image)
    boxes = []
    for number, entry in enumerate(read_xml(path).iter("object"), start=1):
        where = f"{path}, object {number}"
        label = (entry.findtext("name") or "").strip()
        box = _box(entry, where, height, width)
        if not _CLASS.fullmatch(label):
            dropped.append(f"{where} has the name {label!r}")
        elif min(box[2:]) <= 0:
            dropped.append(f"{where} has a box without area")
        else:
            boxes.append((label, box, (entry.findtext("difficult") or "0").strip() == "1"))
    return Boxed(image.name, height, width, tuple(boxes))


def _box(entry: Element, where: str, height: int, width: int) -> tuple[float, float, float, float]:
    """x y width height from zero, clipped to the image; equal corners are a click, not a box."""
    try:
        left, top, right, bottom = (float(entry.findtext(f"bndbox/{key}") or "") for key in CORNERS)
    except ValueError as error:
        raise DataError(f"{where} has no box of four numbers.", "Correct or remove the object.") from error
    if not (right > left and bottom > top):
        return left, top, 0.0, 0.0
    left, top = max(left - 1, 0.0), max(top - 1, 0.0)
    return left, top, min(right, float(width)) - left, min(bottom, float(height)) - top


def _copy(tree: Path, folder: Path, images: Sequence[Boxed]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in images:
        source = tree / "JPEGImages" / each.file
        files.write_atomic(folder / each.file, partial(shutil.copyfile, source))
