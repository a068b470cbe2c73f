"""Reader of annotations in COCO's format, which checks every entry.

The format: https://cocodataset.org/#format-data. A JSON file lists `images`, `categories` and `annotations`; boxes are
x y width height in pixels. pycocotools' reader is not used: it checks nothing, and a damaged file would fail in
training or evaluation.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evonas.data.detection.base import Objects, Shape
from evonas.data.io.safe import read_json
from evonas.errors import DataError

log = logging.getLogger(__name__)

MAX_BYTES = 2**30
MAX_ENTRIES = 5_000_000
MAX_POINTS = 200_000


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
    """Reads annotations; boxes are clipped to their images, and boxes without area are skipped.

    Args:
        path: the JSON file.
        with_masks: whether polygons and run lengths are kept; every annotation must have them then.
        max_pixels: larger images are refused.

    Raises:
        DataError: an entry is invalid; the message names the file and the entry.
    """
    document = read_json(path, MAX_BYTES)
    images, annotations, categories = (
        _entries(document, key, path) for key in ("images", "annotations", "categories")
    )
    names = {_identity(each, path, "category"): str(each.get("name") or "") for each in categories}
    if len(names) < len(categories) or len(set(names.values())) < len(names) or "" in names.values():
        raise DataError(f"{path} has categories without a distinct name and id.", "Give each both.")
    numbers = {identity: number for number, identity in enumerate(sorted(names))}
    sizes = {_identity(each, path, "image"): _image(each, path, max_pixels) for each in images}
    found: dict[int, list[_One]] = {identity: [] for identity in sizes}
    empty = 0
    for each in annotations:
        image, one = _annotation(each, path, sizes, numbers, with_masks)
        if one is None:
            empty += 1
        else:
            found[image].append(one)
    if empty:
        log.warning("Skipped: %d of %d boxes in %s, which have no area.", empty, len(annotations), path.name)
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


def _entries(document: Any, key: str, path: Path) -> Sequence[Mapping[str, Any]]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DataError(f"{path} has no list of {key}.", "Expected: COCO instance annotations.")
    if len(found) > MAX_ENTRIES or (not found and key != "annotations"):
        raise DataError(f"{path} has {len(found)} {key}; there must be 1 to {MAX_ENTRIES}.")
    return found


def _identity(entry: Mapping[str, Any], path: Path, what: str) -> int:
    found = entry.get("id")
    if not isinstance(found, int) or isinstance(found, bool):
        raise DataError(f"{path}: the id of a {what} must be an integer, got {found!r}.")
    return found


def _image(entry: Mapping[str, Any], path: Path, max_pixels: int) -> _Size:
    name, height, width = (entry.get(key) for key in ("file_name", "height", "width"))
    where = f"{path}, image {entry['id']}"
    if not isinstance(name, str) or not name or not isinstance(height, int) or not isinstance(width, int):
        raise DataError(f"{where} must have file_name, height and width.")
    if height < 1 or width < 1 or height * width > max_pixels:
        raise DataError(f"{where} has {height}x{width} pixels; there must be 1 to {max_pixels}.")
    return _Size(name, height, width)


def _annotation(
    entry: Mapping[str, Any],
    path: Path,
    sizes: Mapping[int, _Size],
    numbers: Mapping[int, int],
    with_masks: bool,
) -> tuple[int, _One | None]:
    """The id of an annotation's image, and its content; None for a box without area."""
    where = f"{path}, annotation {entry.get('id')}"
    image = _listed(entry, "image_id", sizes, where)
    label = numbers[_listed(entry, "category_id", numbers, where)]
    size = sizes[image]
    box = _box(entry.get("bbox"), where, size)
    sides = box[2] - box[0], box[3] - box[1]
    if min(sides) <= 0:
        return image, None
    area = entry.get("area", sides[0] * sides[1])
    if not _is_number(area) or area < 0:
        raise DataError(f"{where}: area must be a number of pixels, got {area!r}.")
    shape = _shape(entry.get("segmentation"), where, size) if with_masks else None
    return image, _One(box, label, float(area), bool(entry.get("iscrowd", 0)), shape)


def _listed(entry: Mapping[str, Any], key: str, known: Mapping[int, Any], where: str) -> int:
    found = entry.get(key)
    if not isinstance(found, int) or found not in known:
        raise DataError(f"{where} contains unknown {key} {found!r}.")
    return found


def _box(found: Any, where: str, size: _Size) -> tuple[float, float, float, float]:
    if not isinstance(found, list) or len(found) != 4 or not all(map(_is_number, found)):
        raise DataError(f"{where}: bbox must be [x, y, width, height] in pixels, got {found!r}.")
    left, top, wide, high = map(float, found)
    right, bottom = min(left + wide, size.width), min(top + high, size.height)
    return max(left, 0.0), max(top, 0.0), right, bottom


def _shape(found: Any, where: str, size: _Size) -> Shape:
    """Polygons, or run lengths (RLE) that cover the image."""
    if isinstance(found, dict):
        counts, sides = found.get("counts"), found.get("size")
        is_list = isinstance(counts, list) and all(isinstance(each, int) and each >= 0 for each in counts)
        whole = is_list and sum(counts or []) == size.height * size.width
        if sides == [size.height, size.width] and (whole or isinstance(counts, str)):
            return found
        raise DataError(f"{where}: run lengths do not match the image's [height, width].")
    if isinstance(found, list) and found:
        lists = [each for each in found if isinstance(each, list) and len(each) % 2 == 0]
        if len(lists) == len(found) and all(
            6 <= len(each) <= 2 * MAX_POINTS and all(map(_is_number, each)) for each in lists
        ):
            return found
    raise DataError(
        f"{where} has no segmentation.", "Use data.masks=false with a head for boxes, such as faster_rcnn."
    )


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
