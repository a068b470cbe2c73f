"""Annotations in COCO's format, checked while they are read.

The format: https://cocodataset.org/#format-data. One document names `images`, `categories` and `annotations`;
boxes are x y width height in pixels.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """One image of a list: its file below the folder of images, and its objects."""

    file: str
    objects: Objects


@dataclass(frozen=True, slots=True)
class Instances:
    """All that one document says.

    Args:
        classes: names in the order of their numbers, which is that of the categories' ids.
        images: in the order of their ids.
    """

    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]


def read_instances(path: Path, with_masks: bool, max_pixels: int) -> Instances:
    """A document of annotations; boxes are clipped to their images, those without area are left out.

    Args:
        with_masks: keep polygons and run lengths, which every annotation must have.
        max_pixels: larger images are refused.

    Raises:
        DataError: naming the file and the entry.
    """
    document = read_json(path, MAX_BYTES)
    images, annotations, categories = (
        _entries(document, key, path) for key in ("images", "annotations", "categories")
    )
    names = _categories(categories, path)
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
        log.warning("Not used: %d of %d boxes in %s, which have no area.", empty, len(annotations), path.name)
    annotated = (
        AnnotatedImage(sizes[each].file, _objects(sizes[each], found[each])) for each in sorted(sizes)
    )
    return Instances(tuple(names[each] for each in sorted(names)), tuple(annotated))


@dataclass(frozen=True, slots=True)
class _Size:
    file: str
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class _One:
    box: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool
    shape: Shape | None


def _entries(document: Any, key: str, path: Path) -> Sequence[Mapping[str, Any]]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DataError(f"{path} has no list of {key}.", "It should be a COCO document of instances.")
    if len(found) > MAX_ENTRIES or (not found and key != "annotations"):
        raise DataError(f"{path} has {len(found)} {key}; 1 to {MAX_ENTRIES} are read.")
    return found


def _categories(entries: Sequence[Mapping[str, Any]], path: Path) -> dict[int, str]:
    names = {_identity(each, path, "category"): str(each.get("name") or "") for each in entries}
    if len(names) < len(entries) or len(set(names.values())) < len(names) or "" in names.values():
        raise DataError(f"{path} has categories without a name or id of their own.", "Give each both.")
    return names


def _identity(entry: Mapping[str, Any], path: Path, what: str) -> int:
    found = entry.get("id")
    if not isinstance(found, int) or isinstance(found, bool):
        raise DataError(f"{path}: the id of a {what} is {found!r}.", "Ids are whole numbers.")
    return found


def _image(entry: Mapping[str, Any], path: Path, max_pixels: int) -> _Size:
    name, height, width = (entry.get(key) for key in ("file_name", "height", "width"))
    where = f"{path}, image {entry['id']}"
    if not isinstance(name, str) or not name or not isinstance(height, int) or not isinstance(width, int):
        raise DataError(f"{where} has no file_name, height and width.", "Every image needs them.")
    if height < 1 or width < 1 or height * width > max_pixels:
        raise DataError(f"{where} has {height}x{width} pixels; at most {max_pixels} are read.")
    return _Size(name, height, width)


def _annotation(
    entry: Mapping[str, Any],
    path: Path,
    sizes: Mapping[int, _Size],
    numbers: Mapping[int, int],
    with_masks: bool,
) -> tuple[int, _One | None]:
    """The image that an annotation belongs to, and what it says; None for a box without area."""
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
        raise DataError(f"{where} has the area {area!r}.", "Areas are numbers of pixels.")
    shape = _shape(entry.get("segmentation"), where, size) if with_masks else None
    return image, _One(box, label, float(area), bool(entry.get("iscrowd", 0)), shape)


def _listed(entry: Mapping[str, Any], key: str, known: Mapping[int, Any], where: str) -> int:
    found = entry.get(key)
    if not isinstance(found, int) or found not in known:
        raise DataError(f"{where} has the {key} {found!r}, which the document does not list.")
    return found


def _box(found: Any, where: str, size: _Size) -> tuple[float, float, float, float]:
    if not isinstance(found, list) or len(found) != 4 or not all(map(_is_number, found)):
        raise DataError(f"{where} has the bbox {found!r}.", "Boxes are [x, y, width, height] in pixels.")
    left, top, wide, high = map(float, found)
    right, bottom = min(left + wide, size.width), min(top + high, size.height)
    return max(left, 0.0), max(top, 0.0), right, bottom


def _shape(found: Any, where: str, size: _Size) -> Shape:
    """Polygons, or run lengths that fill the image."""
    if isinstance(found, dict):
        counts, sides = found.get("counts"), found.get("size")
        is_list = isinstance(counts, list) and all(isinstance(each, int) and each >= 0 for each in counts)
        whole = is_list and sum(counts or []) == size.height * size.width
        if sides == [size.height, size.width] and (whole or isinstance(counts, str)):
            return found
        raise DataError(f"{where} has run lengths of another image.", "size is [height, width].")
    if isinstance(found, list) and found and all(_is_polygon(each) for each in found):
        return found
    raise DataError(
        f"{where} has no segmentation.", "Use data.masks=false with a head for boxes, such as faster_rcnn."
    )


def _is_polygon(found: Any) -> bool:
    is_list = isinstance(found, list) and len(found) % 2 == 0 and 6 <= len(found) <= 2 * MAX_POINTS
    return is_list and all(map(_is_number, found))


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _objects(size: _Size, found: Sequence[_One]) -> Objects:
    return Objects(
        size.height,
        size.width,
        np.array([each.box for each in found], dtype=np.float64).reshape(-1, 4),
        np.array([each.label for each in found], dtype=np.int64),
        np.array([each.area for each in found], dtype=np.float64),
        np.array([each.crowd for each in found], dtype=np.bool_),
        tuple(each.shape for each in found if each.shape is not None),
    )
