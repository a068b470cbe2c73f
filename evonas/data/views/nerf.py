"""Reader of NeRF's transforms.json: intrinsics and poses of a scene (Mildenhall et al. 2020, and instant-ngp)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.data.io.json_values import number, shown
from evonas.data.io.pictures import picture_file, picture_size, refuse_undecided
from evonas.data.io.safe import below, is_file, read_json
from evonas.data.views.cameras import (
    Distortion,
    Missing,
    PosedImage,
    check_present,
    in_order,
    lens_of,
    view_of,
)
from evonas.data.views.lens_models import BENT, refuse_other_lenses
from evonas.errors import DataError

NAME = "transforms.json"
MAX_FRAMES = 100_000


def read_transforms(folder: Path, missing: Missing = "error") -> list[PosedImage]:
    """The photographs of a scene, in the natural order of their names.

    Args:
        folder: folder of transforms.json; its paths are relative to the folder.
        missing: "skip" omits frames without an image file.

    Raises:
        DataError: the file is invalid, has a lens that is not understood, or names a photograph twice; the message
            names file and frame.
    """
    path = folder / NAME
    document = read_json(path)
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_FRAMES:
        raise DataError(f"{path} must have a list of 1 to {MAX_FRAMES} frames.")
    root = folder.resolve()
    photographs = [_photograph(root, frame, f"{path}, frame {k}") for k, frame in enumerate(frames)]
    check_present(photographs, missing, str(path))
    return in_order(
        (
            _posed(document, frame, photograph, f"{path}, frame {k}")
            for k, (frame, photograph) in enumerate(zip(frames, photographs, strict=True))
            if is_file(photograph)
        ),
        str(path),
    )


def _photograph(root: Path, frame: Any, where: str) -> Path:
    """The file of a frame, whose suffix may be left out."""
    if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
        raise DataError(f"{where} must have a file_path and a transform_matrix.")
    stem = below(root, frame["file_path"], where)
    return stem if is_file(stem) else picture_file(stem) or stem


def _posed(document: Mapping[str, Any], frame: Mapping[str, Any], photograph: Path, where: str) -> PosedImage:
    # values of a frame override those of the scene
    told = {**document, **frame}
    refuse_other_lenses(told, where)
    view = view_of(_matrix(frame, where), where, opengl=True, to_world=True)
    width, height = _sides(told, photograph, where)
    fx = _focal(document, frame, "x", width, where)
    fy = _focal(document, frame, "y", height, where)
    if fx is None:
        raise DataError(f"{where} must have fl_x, or camera_angle_x in (0, pi).")
    fy = fx if fy is None else fy
    cx, cy = _number(told, "cx", where), _number(told, "cy", where)
    if min(fx, fy, width, height) <= 0:
        raise DataError(f"{where}: focal lengths and image sizes must be positive.")
    lens = lens_of(fx, fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy, width, height)
    return PosedImage(photograph, view, lens, _distortion(told, where), (width, height))


def _matrix(frame: Mapping[str, Any], where: str) -> list[list[float]]:
    given: Any = frame.get("transform_matrix")
    is_matrix = isinstance(given, list) and all(isinstance(row, list) for row in given)
    rows = [[number(each) for each in row] for row in given or ()] if is_matrix else []
    if not rows or len(set(map(len, rows))) > 1 or any(each is None for row in rows for each in row):
        raise DataError(f"{where}: transform_matrix must be a matrix of numbers.")
    return [[each for each in row if each is not None] for row in rows]


def _sides(told: Mapping[str, Any], photograph: Path, where: str) -> tuple[float, float]:
    """Width and height of the photographs that the cameras were computed from."""
    width, height = _number(told, "w", where), _number(told, "h", where)
    if width is not None and height is not None:
        return width, height
    if width is not None or height is not None:
        raise DataError(
            f"{where} has {'h' if width is None else 'w'} alone.", "Give both w and h, or neither."
        )
    refuse_undecided(photograph)
    high, wide = picture_size(photograph)
    return wide, high


def _focal(
    document: Mapping[str, Any], frame: Mapping[str, Any], axis: str, side: float, where: str
) -> float | None:
    """A focal length in pixels: the frame's own before the scene's, a length before an angle."""
    for told in (frame, document):
        length, angle = _number(told, f"fl_{axis}", where), _number(told, f"camera_angle_{axis}", where)
        if length is not None:
            return length
        if angle is not None:
            if not 0 < angle < math.pi:
                raise DataError(f"{where}: camera_angle_{axis} must be in (0, pi), got {angle}.")
            return side / 2 / math.tan(angle / 2)
    return None


def _distortion(told: Mapping[str, Any], where: str) -> Distortion:
    k1, k2, p1, p2 = (_number(told, key, where) or 0.0 for key in BENT)
    return k1, k2, p1, p2


def _number(told: Mapping[str, Any], key: str, where: str) -> float | None:
    value = told.get(key)
    if value is None:
        return None
    found = number(value)
    if found is None:
        raise DataError(f"{where}: {key} must be a finite number, got {shown(value)}.")
    return found
