"""Reader of annotations in COCO's format, which checks every entry.

The format: https://cocodataset.org/#format-data. A JSON file lists `images`, `categories` and `annotations`; boxes are
x y width height in pixels. pycocotools' reader is not used: it checks nothing, and a damaged file would fail in
training or evaluation, or give other objects than the file has: it keeps the last of several entries with one id.
"""

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from evonas.data.detection.base import Objects, Shape
from evonas.data.detection.run_lengths import fills, run_lengths
from evonas.data.io.json_values import flag, integer, number, shown
from evonas.data.io.safe import read_json
from evonas.errors import DataError

log = logging.getLogger(__name__)

MAX_BYTES = 2**30
MAX_ENTRIES = 5_000_000
MAX_POINTS = 200_000
# corners of a polygon
LEAST_POINTS = 3
# area of an object in areas of its image, beyond which it may reach by an image's size on each side
MOST_AREAS = 9
# images with shorter sides may have boxes that lie within one pixel
LEAST_SIDE = 8


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image file, relative to the folder of images, and its objects."""

    file: str
    objects: Objects


@dataclass(frozen=True, slots=True)
class Instances:
    """The content of an annotation file.

    Args:
        classes: class names in the order of the categories' ids, which is that of the class ids.
        images: images in the order of their ids.
    """

    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]


def read_instances(path: Path, with_masks: bool, max_pixels: int) -> Instances:
    """Reads annotations; boxes are clipped to their images.

    Boxes without area, and pieces of a segmentation with fewer than three points beside a whole one, are left out and
    counted in a warning; so are segmentations that cover nothing of their boxes, which are kept. Numbers of another
    type are read where their value is exact, such as 128.0 and "0".

    Args:
        path: the JSON file.
        with_masks: whether polygons and run lengths are kept; every annotation must have them then.
        max_pixels: larger images are refused.

    Raises:
        DataError: an entry is invalid, two have one id, or all boxes are shares of their images' sides; the message
            names the file and the entry.
    """
    document = read_json(path, MAX_BYTES)
    images, annotations, categories = (
        _entries(document, key, path) for key in ("images", "annotations", "categories")
    )
    names = _categories(categories, path)
    numbers = {identity: position for position, identity in enumerate(sorted(names))}
    sizes = _images(images, path, max_pixels)
    identities = [integer(each["id"]) for each in annotations if each.get("id") is not None]
    _refuse_repeated(identities, path, "annotations", "id")
    found: dict[int, list[_One]] = {identity: [] for identity in sizes}
    empty, short, outside, apart = list[str](), list[str](), list[str](), list[str]()
    farthest = 0.0
    for position, each in enumerate(annotations, start=1):
        name = (
            f"annotation {shown(each['id'])}" if each.get("id") is not None else f"annotation no. {position}"
        )
        image, one = _annotation(each, f"{path}, {name}", sizes, numbers, with_masks)
        reach = _reach(each["bbox"])
        if _is_outside(reach, sizes[image]):
            outside.append(name)
        farthest = max(farthest, *reach[2:])
        if one is None:
            empty.append(name)
            continue
        found[image].append(one)
        if one.short:
            short.append(name)
        if one.is_apart:
            apart.append(name)
    if (
        annotations
        and farthest <= 1
        and max(max(size.height, size.width) for size in sizes.values()) >= LEAST_SIDE
    ):
        raise DataError(
            f"{path}: all {len(annotations)} boxes lie within the first pixel of their images, so they seem to be "
            "shares of the images' sides.",
            "bbox is [x, y, width, height] in pixels: multiply by the sides of the image.",
        )
    for left_out, what in (
        (empty, "boxes in %s, which have no area, such as that of %s"),
        (short, "segmentations in %s in part: pieces with fewer than three points, such as one of %s"),
    ):
        if left_out:
            log.warning(f"Skipped: %d of %d {what}.", len(left_out), len(annotations), path.name, left_out[0])
    if outside:
        log.warning(
            "Clipped: %d of %d boxes in %s, which reach outside their images, such as that of %s.%s",
            len(outside),
            len(annotations),
            path.name,
            outside[0],
            # corners in place of sides make most boxes too large
            " bbox is [x, y, width, height], not two corners." if 2 * len(outside) > len(annotations) else "",
        )
    if apart:
        log.warning(
            "%d of %d segmentations in %s cover nothing of their boxes, such as that of %s.",
            len(apart),
            len(annotations),
            path.name,
            apart[0],
        )
    annotated = []
    for identity, size in sorted(sizes.items()):
        ones = found[identity]
        objects = Objects(
            size.height,
            size.width,
            np.array([each.box for each in ones], dtype=np.float64).reshape(-1, 4),
            np.array([each.label for each in ones], dtype=np.int64),
            np.array([each.area for each in ones], dtype=np.float64),
            np.array([each.crowd for each in ones], dtype=np.bool_),
            tuple(each.shape for each in ones if each.shape is not None),
        )
        annotated.append(AnnotatedImage(size.file, objects))
    return Instances(tuple(names[each] for each in sorted(names)), tuple(annotated))


class _Size(NamedTuple):
    file: str
    height: int
    width: int


class _One(NamedTuple):
    box: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool
    shape: Shape | None
    short: int
    is_apart: bool


def _entries(document: Any, key: str, path: Path) -> Sequence[Mapping[str, Any]]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DataError(f"{path} has no list of {key}.", "Expected: COCO instance annotations.")
    if len(found) > MAX_ENTRIES or (not found and key != "annotations"):
        raise DataError(f"{path} has {len(found)} {key}; there must be 1 to {MAX_ENTRIES}.")
    return found


def _refuse_repeated(values: Iterable[Hashable], path: Path, what: str, key: str) -> None:
    known = set[Hashable]()
    for value in values:
        if value in known:
            raise DataError(
                f"{path} has two {what} with the {key} {shown(value)}.",
                "Merge documents by giving their entries new ids, and name each file once.",
            )
        known.add(value)


def _identity(entry: Mapping[str, Any], path: Path, what: str) -> int:
    found = integer(entry.get("id"))
    if found is None:
        raise DataError(f"{path}: the id of {what} must be an integer, got {shown(entry.get('id'))}.")
    return found


def _categories(entries: Sequence[Mapping[str, Any]], path: Path) -> dict[int, str]:
    """Names of the categories by id."""
    identities = [_identity(each, path, "a category") for each in entries]
    names = [str(each.get("name") or "") for each in entries]
    if "" in names:
        raise DataError(f"{path}: category {identities[names.index('')]} has no name.", "Give it one.")
    _refuse_repeated(identities, path, "categories", "id")
    _refuse_repeated(names, path, "categories", "name")
    return dict(zip(identities, names, strict=True))


def _images(entries: Sequence[Mapping[str, Any]], path: Path, max_pixels: int) -> dict[int, _Size]:
    """File and size of the images by id."""
    identities = [_identity(each, path, "an image") for each in entries]
    _refuse_repeated(identities, path, "images", "id")
    sizes = dict.fromkeys(identities, _Size("", 0, 0))
    for identity, each in zip(identities, entries, strict=True):
        name, where = each.get("file_name"), f"{path}, image {identity}"
        if not isinstance(name, str) or not name:
            raise DataError(f"{where} must have file_name, got {shown(name)}.", "Name its file.")
        height, width = (integer(each.get(key)) for key in ("height", "width"))
        if height is None or width is None:
            given = ", ".join(f"{key} {shown(each.get(key))}" for key in ("height", "width"))
            raise DataError(f"{where} must have height and width in whole pixels, got {given}.")
        if height < 1 or width < 1 or height * width > max_pixels:
            sides = f"{shown(height)}x{shown(width)}"
            raise DataError(f"{where} has {sides} pixels; there must be 1 to {max_pixels}.")
        sizes[identity] = _Size(name, height, width)
    # objects of one picture in two entries would be false alarms in each other
    _refuse_repeated((str(PurePosixPath(each.file)) for each in sizes.values()), path, "images", "file_name")
    return sizes


def _annotation(
    entry: Mapping[str, Any],
    where: str,
    sizes: Mapping[int, _Size],
    numbers: Mapping[int, int],
    with_masks: bool,
) -> tuple[int, _One | None]:
    """The id of an annotation's image, and its content; None for a box without area."""
    if entry.get("id") is not None and integer(entry["id"]) is None:
        raise DataError(f"{where}: the id must be an integer.", "Number the annotations.")
    image = _listed(entry, "image_id", sizes, where)
    label = numbers[_listed(entry, "category_id", numbers, where)]
    size = sizes[image]
    box = _box(entry.get("bbox"), where, size)
    sides = box[2] - box[0], box[3] - box[1]
    crowd = flag(entry.get("iscrowd", 0))
    if crowd is None:
        raise DataError(f"{where}: iscrowd must be 0 or 1, got {shown(entry['iscrowd'])}.")
    # a box far outside its image has sides below zero
    area = number(entry["area"]) if "area" in entry else max(sides[0], 0.0) * max(sides[1], 0.0)
    if area is None or (area < 0 and min(sides) > 0):
        raise DataError(f"{where}: area must be a number of pixels, got {shown(entry['area'])}.")
    if area > MOST_AREAS * size.height * size.width:
        raise DataError(f"{where}: area {shown(entry['area'])} is far larger than the image.")
    if min(sides) <= 0:
        return image, None
    if not with_masks:
        return image, _One(box, label, area, crowd, None, 0, False)
    shape, short, is_apart = _shape(entry.get("segmentation"), where, size, box)
    return image, _One(box, label, area, crowd, shape, short, is_apart)


def _listed(entry: Mapping[str, Any], key: str, known: Mapping[int, Any], where: str) -> int:
    found = integer(entry.get(key))
    if found is None or found not in known:
        raise DataError(f"{where} contains unknown {key} {shown(entry.get(key))}.")
    return found


def _box(found: Any, where: str, size: _Size) -> tuple[float, float, float, float]:
    values = [number(each) for each in found] if isinstance(found, list) else []
    numbers = [each for each in values if each is not None]
    if len(values) != 4 or len(numbers) != 4:
        raise DataError(f"{where}: bbox must be [x, y, width, height] in pixels, got {shown(found)}.")
    left, top, wide, high = numbers
    right, bottom = min(left + wide, size.width), min(top + high, size.height)
    return max(left, 0.0), max(top, 0.0), right, bottom


def _reach(found: Any) -> tuple[float, float, float, float]:
    """The corners x1 y1 x2 y2 of a valid box, before it is clipped."""
    left, top, wide, high = (number(each) or 0.0 for each in found)
    return left, top, left + wide, top + high


def _is_outside(corners: Sequence[float], size: _Size) -> bool:
    """Whether a box reaches more than a pixel outside its image."""
    left, top, right, bottom = corners
    return min(left, top) < -1 or right > size.width + 1 or bottom > size.height + 1


def _shape(found: Any, where: str, size: _Size, box: Sequence[float]) -> tuple[Shape, int, bool]:
    """Polygons, or run lengths (RLE) that cover the image.

    Returns:
        The segmentation, the number of pieces that were left out, and whether it covers nothing of its box.
    """
    if isinstance(found, dict):
        runs, foreground = _runs(found, where, size)
        return runs, 0, not foreground
    if not isinstance(found, list) or not found:
        raise DataError(
            f"{where} has no segmentation.",
            "Use data.masks=false with a head for boxes, such as faster_rcnn.",
        )
    polygons = [_polygon(each, where, size) for each in found]
    whole = [each for each in polygons if len(each) >= 2 * LEAST_POINTS]
    if not whole:
        raise DataError(
            f"{where}: a polygon of its segmentation has {len(polygons[0]) // 2} points; "
            f"{LEAST_POINTS} are the least.",
            "Correct the annotation, or remove it.",
        )
    return whole, len(polygons) - len(whole), not any(_meets(each, box) for each in whole)


def _meets(polygon: Sequence[float], box: Sequence[float]) -> bool:
    """Whether a polygon has an area, and its extent overlaps with a box x1 y1 x2 y2."""
    points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    x, y = points.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    return bool(area > 0 and left < box[2] and right > box[0] and top < box[3] and bottom > box[1])


def _runs(found: Mapping[str, Any], where: str, size: _Size) -> tuple[Shape, int]:
    """Run lengths, which are decoded here once, because a decoder trusts them, and their pixels of foreground."""
    given, counts = found.get("size"), run_lengths(found.get("counts"))
    sides = [integer(each) for each in given] if isinstance(given, list) else None
    if sides != [size.height, size.width]:
        raise DataError(
            f"{where}: run lengths do not match the image's [height, width]: their size is {shown(given)}, "
            f"the image's {[size.height, size.width]}.",
            "Encode the mask of this image.",
        )
    if counts is None:
        raise DataError(
            f"{where}: run lengths cannot be read: {shown(found.get('counts'))}.",
            "Expected: whole numbers, or COCO's compressed text.",
        )
    if not fills(counts, size.height, size.width):
        raise DataError(
            f"{where}: run lengths do not match the image's [height, width]: they cover "
            f"{shown(sum(counts))} of {size.height * size.width} pixels.",
            "Encode the mask of this image.",
        )
    text = found["counts"]
    shape = {**found, "size": sides, "counts": text if isinstance(text, str) else list(counts)}
    return shape, sum(counts[1::2])


def _polygon(found: Any, where: str, size: _Size) -> list[float]:
    """The numbers x y x y ... of a polygon, which may lie a picture's size outside its picture."""
    if not isinstance(found, list) or len(found) % 2 or len(found) > 2 * MAX_POINTS:
        raise DataError(
            f"{where}: segmentation must be polygons [[x, y, x, y, ...], ...] or run lengths, "
            f"got a piece {shown(found)}.",
            "Correct the annotation, or use data.masks=false with a head for boxes, such as faster_rcnn.",
        )
    values: list[Any] = found if set(map(type, found)) <= {int, float} else [number(each) for each in found]
    try:
        points = np.array(values, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        points = np.full((1, 2), np.nan)
    sides = size.width, size.height
    # a rasteriser walks along the edges, so that a far corner would cost memory without end
    far = ~((points >= -np.array(sides)) & (points <= 2 * np.array(sides))).all(axis=1)
    if far.any():
        first = 2 * int(far.argmax())
        raise DataError(
            f"{where}: its polygon has the point {shown(found[first : first + 2])}, "
            f"far outside an image {size.width} wide and {size.height} high.",
            "Polygons are x, y in pixels; correct the annotation.",
        )
    return values
