"""Reader of NeRF's transforms.json: intrinsics and poses of a scene (Mildenhall et al. 2020, and instant-ngp)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.data.io.safe import below, image_size, read_json
from evonas.data.views.cameras import Distortion, Matrix, Missing, PosedImage, lens_of, present, view_of
from evonas.errors import DataError

NAME = "transforms.json"
MAX_FRAMES = 100_000
SUFFIXES = ("", ".png", ".jpg", ".jpeg")


def read_transforms(folder: Path, missing: Missing = "error") -> list[PosedImage]:
    """The photographs of a scene, in the order of their names.

    Args:
        folder: folder of transforms.json; its paths are relative to the folder.
        missing: "skip" omits frames without an image file.

    Raises:
        DataError: the file is invalid; the message names file and frame.
    """
    path = folder / NAME
    document = read_json(path)
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_FRAMES:
        raise DataError(f"{path} must have a list of 1 to {MAX_FRAMES} frames.")
    images = [_frame(folder, document, frame, f"{path}, frame {k}") for k, frame in enumerate(frames)]
    return sorted(present(images, missing, str(path)), key=lambda image: str(image.path))


def _frame(folder: Path, document: Mapping[str, Any], frame: Any, where: str) -> PosedImage:
    if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
        raise DataError(f"{where} must have a file_path and a transform_matrix.")
    stem = below(folder.resolve(), frame["file_path"], where)
    found = (path for suffix in SUFFIXES if (path := stem.with_name(stem.name + suffix)).is_file())
    path = next(found, stem)
    # values of a frame override those of the scene
    told = {**document, **frame}
    view = view_of(_numbers(frame, where), where, opengl=True, to_world=True)
    return PosedImage(path, view, _lens(told, path, where), _distortion(told, where))


def _numbers(frame: Mapping[str, Any], where: str) -> list[list[float]]:
    try:
        return [[float(number) for number in row] for row in frame["transform_matrix"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: transform_matrix must be a matrix of numbers.") from error


def _lens(told: Mapping[str, Any], path: Path, where: str) -> Matrix:
    width, height = _number(told, "w", where), _number(told, "h", where)
    if width is None or height is None:
        height, width = image_size(path)
    fx, fy = _number(told, "fl_x", where), _number(told, "fl_y", where)
    if fx is None:
        angle = _number(told, "camera_angle_x", where)
        if angle is None or not 0 < angle < math.pi:
            raise DataError(f"{where} must have fl_x, or camera_angle_x in (0, pi).")
        fx = width / 2 / math.tan(angle / 2)
    fy = fx if fy is None else fy
    cx, cy = _number(told, "cx", where), _number(told, "cy", where)
    if min(fx, fy, width, height) <= 0:
        raise DataError(f"{where}: focal lengths and image sizes must be positive.")
    return lens_of(fx, fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy, width, height)


def _distortion(told: Mapping[str, Any], where: str) -> Distortion:
    k1, k2, p1, p2 = (_number(told, key, where) or 0.0 for key in ("k1", "k2", "p1", "p2"))
    return k1, k2, p1, p2


def _number(told: Mapping[str, Any], key: str, where: str) -> float | None:
    value = told.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {key} must be a finite number, got {value!r}.")
    return float(value)
