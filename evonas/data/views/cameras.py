"""Posed images: camera conventions, and photographs cropped, scaled and without lens distortion.

Legend: H W space.

Convention of evonas: a *view* is the 4x4 matrix from world to camera; camera axes are x right, y down, z forward
(OpenCV, COLMAP, RealEstate10K); pixel centres are at half-integers. NeRF's transforms.json contains the inverse, camera
to world, in axes with y up and z backward (OpenGL, Blender).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from evonas.data.base import file_size
from evonas.data.io.pictures import open_picture, orientation_note, refuse_undecided
from evonas.data.io.safe import MAX_PIXELS, is_file
from evonas.errors import DataError

Matrix = NDArray[np.float64]
Colours = NDArray[np.float32]
Missing = Literal["error", "skip"]
Distortion = tuple[float, float, float, float]

# converts between axes with y up, z backward and axes with y down, z forward
TURNED = np.diag([1.0, -1.0, -1.0, 1.0])
NO_DISTORTION: Distortion = (0.0, 0.0, 0.0, 0.0)
# tolerance of orthonormal rotations: files have six digits or more
TOLERANCE = 1e-3
# focal lengths in sides of the image, from a field of view of 169 degrees on; one in millimetres is shorter
FOCAL_LENGTHS = (0.05, 500.0)
# principal points in sides of the image; a part of a photograph may lie beside its own
CENTRES = (-1.0, 2.0)
# most by which lens distortion moves a pixel, as a factor of its distance from the principal point
MOST_DISTORTION = 10.0
# pixels by which a scaled copy of a photograph may miss the shape of the original
ROUNDING = 1.0
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class PosedImage:
    """A photograph on disk and its camera.

    Args:
        path: path of the photograph.
        view: 4x4 world to camera.
        lens: 3x3 intrinsics as shares of the image's width (first row) and height (second row).
        distortion: k1, k2, p1, p2 of the Brown model, in OpenCV's order.
        sides: width and height in pixels that the camera was measured for; the photograph may be a scaled copy. None
            where the file gives shares alone.
    """

    path: Path
    view: Matrix
    lens: Matrix
    distortion: Distortion = NO_DISTORTION
    sides: tuple[float, float] | None = None


def lens_of(fx: float, fy: float, cx: float, cy: float, width: float, height: float) -> Matrix:
    """Converts intrinsics in pixels to shares of the image's width and height."""
    return np.array([[fx / width, 0, cx / width], [0, fy / height, cy / height], [0, 0, 1]])


def view_of(matrix: Any, where: str, opengl: bool = False, to_world: bool = False) -> Matrix:
    """The 4x4 view of a 3x4 or 4x4 pose matrix.

    Args:
        matrix: the pose.
        where: file and line, for messages.
        opengl: whether the camera's y axis is up and its z axis backward.
        to_world: whether the matrix maps camera to world.

    Raises:
        DataError: the matrix has another shape, is not finite, or is not a rigid motion.
    """
    given = np.asarray(matrix, dtype=np.float64)
    if given.shape not in ((3, 4), (4, 4)) or not np.isfinite(given).all():
        raise DataError(f"{where}: the pose must be a finite 3x4 or 4x4 matrix.")
    if np.abs(given[3:] - [0, 0, 0, 1]).max(initial=0) > TOLERANCE:
        raise DataError(
            f"{where}: the last row of the pose must be 0 0 0 1, got {' '.join(f'{each:g}' for each in given[3])}.",
            "Transpose the matrix if its last column is 0 0 0 1.",
        )
    full = np.eye(4)
    full[:3] = given[:3]
    turn = full[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > TOLERANCE or np.linalg.det(turn) < 0:
        raise DataError(
            f"{where}: the pose must be a rotation and translation.", "Remove scale and mirroring."
        )
    if opengl:
        full = full @ TURNED if to_world else TURNED @ full
    return inverse(full) if to_world else full


def inverse(motion: Matrix) -> Matrix:
    """The inverse of a rotation and translation."""
    back = np.eye(4)
    back[:3, :3] = motion[:3, :3].T
    back[:3, 3] = -motion[:3, :3].T @ motion[:3, 3]
    return back


def position(view: Matrix) -> Matrix:
    """The position of a view's camera in the world."""
    return inverse(view)[:3, 3]


def opened(posed: PosedImage, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> tuple[Colours, Matrix]:
    """The photograph without distortion, scaled and centre-cropped to `size`, and its intrinsics.

    Returns:
        The image H W 3 in [0, 1], and the 3x3 intrinsics in its pixels.

    Raises:
        DataError: the photograph has another shape than its camera, or EXIF turns it and the camera's sides do not
            tell whether the camera saw it turned.
    """
    sides = None if posed.sides is None else (posed.sides[1], posed.sides[0])
    refuse_undecided(posed.path, max_pixels, sides)
    image = open_picture(posed.path, max_pixels, sides)
    _check_sides(posed, image.width, image.height)
    if any(posed.distortion):
        image = Image.fromarray(_straightened(np.asarray(image), posed))
    scale = max(size[0] / image.height, size[1] / image.width)
    height, width = (max(side, round(scale * old)) for side, old in zip(size, image.size[::-1], strict=True))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    intrinsics = np.diag([width, height, 1.0]) @ posed.lens
    intrinsics[:2, 2] -= left, top
    cut = pixels[top : top + size[0], left : left + size[1]]
    return (cut / np.float32(255)).astype(np.float32), intrinsics


def _check_sides(posed: PosedImage, width: int, height: int) -> None:
    """Refuses a photograph that is no scaled copy of what its camera saw: its intrinsics would be stretched."""
    if posed.sides is None:
        return
    wide, high = posed.sides
    if min(abs(width * high / wide - height), abs(height * wide / high - width)) > ROUNDING:
        raise DataError(
            f"{posed.path} is {width} wide and {height} high{orientation_note(posed.path)}, but its camera is for "
            f"{wide:g} by {high:g}, which has another shape.",
            "Use the photographs that the cameras were computed from.",
        )


def _straightened(pixels: NDArray[np.uint8], posed: PosedImage) -> NDArray[np.uint8]:
    """The image of a pinhole camera with the same intrinsics; edge pixels are repeated."""
    height, width = pixels.shape[:2]
    (fx, _, cx), (_, fy, cy), _ = np.diag([width, height, 1.0]) @ posed.lens
    x, y = np.meshgrid((np.arange(width) + 0.5 - cx) / fx, (np.arange(height) + 0.5 - cy) / fy)
    bent_x, bent_y = distorted(x, y, posed.distortion)
    places = np.stack([bent_y * fy + cy - 0.5, bent_x * fx + cx - 0.5])
    channels = [
        map_coordinates(pixels[..., channel].astype(np.float32), places, order=1, mode="nearest")
        for channel in range(3)
    ]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def distorted(x: Matrix, y: Matrix, distortion: Distortion) -> tuple[Matrix, Matrix]:
    """Maps pinhole coordinates x, y at depth one to distorted coordinates (Brown 1966)."""
    k1, k2, p1, p2 = distortion
    square = x * x + y * y
    radial = 1 + k1 * square + k2 * square**2
    bent_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
    bent_y = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
    return bent_x, bent_y


def in_order(images: Iterable[PosedImage], where: str) -> list[PosedImage]:
    """The photographs in the natural order of their paths, in which r_2 comes before r_10: neighbours in time.

    Raises:
        DataError: two entries of the file name one photograph, or a camera cannot be that of a photograph.
    """
    ordered = sorted(images, key=lambda image: natural_order(image.path))
    for image in ordered:
        _refuse_impossible(image, where)
    for one, other in pairwise(ordered):
        if one.path == other.path:
            raise DataError(
                f"{where} names the photograph {one.path} twice.",
                "Remove one of the entries, or export again.",
            )
    return ordered


def _refuse_impossible(image: PosedImage, where: str) -> None:
    """Refuses a camera whose numbers have another unit or meaning: its rays would be wrong without a word.

    Raises:
        DataError: a focal length, the principal point or the lens distortion is far outside those of photographs.
    """
    about = f"{where}, {image.path.name}"
    for side, axis in (("width", 0), ("height", 1)):
        focal, centre = image.lens[axis, axis], image.lens[axis, 2]
        if not FOCAL_LENGTHS[0] <= focal <= FOCAL_LENGTHS[1]:
            raise DataError(
                f"{about}: a focal length of {focal:.3g} times the image's {side} is not that of a photograph.",
                "Focal lengths are in pixels, not in millimetres, and belong to the stated size of the image.",
            )
        if not CENTRES[0] <= centre <= CENTRES[1]:
            raise DataError(
                f"{about}: a principal point at {centre:.3g} times the image's {side} lies far outside the image.",
                "Principal points are in pixels, and belong to the stated size of the image.",
            )
    if any(image.distortion):
        grid = np.linspace(0, 1, 9)
        x, y = np.meshgrid(
            (grid - image.lens[0, 2]) / image.lens[0, 0], (grid - image.lens[1, 2]) / image.lens[1, 1]
        )
        square = x * x + y * y
        # below zero a pixel would be taken from the opposite side of the image
        factor = 1 + image.distortion[0] * square + image.distortion[1] * square**2
        if factor.min() <= 0 or factor.max() > MOST_DISTORTION:
            raise DataError(
                f"{about}: the lens distortion {' '.join(f'{each:g}' for each in image.distortion)} folds the image.",
                "k1, k2, p1, p2 are those of OpenCV; check their order and signs, or undistort the images first.",
            )


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """A sort key in which numbers inside names count as numbers."""
    text = str(path)
    parts = _DIGITS.split(text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], text


def check_present(paths: Sequence[Path], missing: Missing, where: str) -> None:
    """Refuses missing files.

    Raises:
        DataError: a file is missing and `missing` is not "skip", or all are missing.
    """
    gone = [path for path in paths if not is_file(path)]
    if gone and (missing != "skip" or len(gone) == len(paths)):
        raise DataError(
            f"{where} lists {len(paths)} images, of which {len(gone)} are missing, such as {gone[0]}.",
            "Check the path."
            if len(gone) == len(paths)
            else "Complete the folder, or omit them with data.missing=skip.",
        )


def digest_of(images: Iterable[PosedImage]) -> str:
    """The sha256 of file names, file sizes and cameras; pixels are not read."""
    digest = hashlib.sha256()
    for image in images:
        size = file_size(image.path)
        digest.update(f"{image.path.name} {size} {image.distortion} {image.sides}\n".encode())
        digest.update(np.ascontiguousarray(image.view).tobytes() + np.ascontiguousarray(image.lens).tobytes())
    return digest.hexdigest()
