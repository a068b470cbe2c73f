"""Cameras as files tell them, in one convention, and photographs as such cameras would have taken them.

Legend: H W space.

The convention, everywhere in evonas: a *view* is the 4x4 matrix from world to camera; camera axes are x
right, y down, z ahead (OpenCV, COLMAP, RealEstate10K); pixel centres lie at half-integers. NeRF's
transforms.json holds the inverse, camera to world, in axes with y up and z back (OpenGL, Blender).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from evonas.data.io.safe import MAX_PIXELS, open_image
from evonas.errors import DataError

Matrix = NDArray[np.float64]
Colours = NDArray[np.float32]
Missing = Literal["error", "skip"]
Distortion = tuple[float, float, float, float]

# from axes with y up and z back to those with y down and z ahead, and back
TURNED = np.diag([1.0, -1.0, -1.0, 1.0])
NO_DISTORTION: Distortion = (0.0, 0.0, 0.0, 0.0)
# how far a rotation may be from orthonormal: files hold six digits or more
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class PosedImage:
    """A photograph on disk and the camera that took it.

    Args:
        path: of the photograph.
        view: 4x4 world to camera.
        lens: 3x3 intrinsics as shares of the image's width (first row) and height (second row).
        distortion: k1, k2, p1, p2 of the Brown model, as OpenCV orders them.
    """

    path: Path
    view: Matrix
    lens: Matrix
    distortion: Distortion = NO_DISTORTION


def lens_of(fx: float, fy: float, cx: float, cy: float, width: float, height: float) -> Matrix:
    """Intrinsics in pixels of an image as shares of its sides."""
    return np.array([[fx / width, 0, cx / width], [0, fy / height, cy / height], [0, 0, 1]])


def view_of(matrix: Any, where: str, opengl: bool = False, to_world: bool = False) -> Matrix:
    """The 4x4 view of a 3x4 or 4x4 matrix.

    Args:
        where: names the file and line in messages.
        opengl: the camera's y is up and its z back.
        to_world: the matrix leads from camera to world.

    Errors: DataError for another shape, for what is not finite, and for what is not a rigid motion.
    """
    given = np.asarray(matrix, dtype=np.float64)
    if given.shape not in ((3, 4), (4, 4)) or not np.isfinite(given).all():
        raise DataError(f"{where}: the pose is no finite 3x4 or 4x4 matrix.", "Write the file again.")
    full = np.eye(4)
    full[:3] = given[:3]
    turn = full[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > TOLERANCE or np.linalg.det(turn) < 0:
        raise DataError(f"{where}: the pose is no rotation and translation.", "Remove scale and mirroring.")
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
    """Where the camera stands in the world."""
    return inverse(view)[:3, 3]


def opened(posed: PosedImage, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> tuple[Colours, Matrix]:
    """The photograph without distortion, scaled and cut to `size` around its middle, and its intrinsics.

    Returns:
        H W 3 in [0, 1], and 3x3 in pixels of that image.
    """
    image = open_image(posed.path, max_pixels).convert("RGB")
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


def _straightened(pixels: NDArray[np.uint8], posed: PosedImage) -> NDArray[np.uint8]:
    """The image as a pinhole of the same intrinsics would see it; edges are repeated."""
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
    """Where the lens shows what a pinhole shows at x, y, both at depth one (Brown 1966)."""
    k1, k2, p1, p2 = distortion
    square = x * x + y * y
    radial = 1 + k1 * square + k2 * square**2
    bent_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
    bent_y = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
    return bent_x, bent_y


def present(images: list[PosedImage], missing: Missing, where: str) -> list[PosedImage]:
    """Those whose photographs are there.

    Errors: DataError if some are not and `missing` is not "skip", or if none is.
    """
    found = [image for image in images if image.path.is_file()]
    gone = [image.path for image in images if not image.path.is_file()]
    if gone and (missing != "skip" or not found):
        raise DataError(
            f"{where} lists {len(images)} images, of which {len(gone)} are missing, such as {gone[0]}.",
            "Complete the folder, or leave them out with data.missing=skip." if found else "Check the path.",
        )
    return found
