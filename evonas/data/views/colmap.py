"""Reader of COLMAP's sparse models: cameras, posed images and points in text or binary files (Schoenberger 2016).

Legend: N points. The formats are those of COLMAP's documentation, "Output Format".
"""

import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evonas.data.io.json_values import integer
from evonas.data.io.safe import MAX_ARRAY_BYTES, below, is_file, open_stream, read_text
from evonas.data.views.cameras import (
    Distortion,
    Matrix,
    Missing,
    PosedImage,
    check_present,
    in_order,
    lens_of,
    view_of,
)
from evonas.data.views.lens_models import BENT, COLMAP, UNDERSTOOD, not_understood
from evonas.errors import DataError

# possible folders of a model, relative to the folder of a scene
PLACES = ("sparse/0", "sparse", "colmap/sparse/0", ".")
MAX_NAME = 512
# the id of a point, or -1 for none
_NUMBER = re.compile(r"-?[0-9]+")


class Points(NamedTuple):
    """The sparse points of a model.

    Args:
        places: positions in the world, N 3.
        colours: colours, N 3.
    """

    places: NDArray[np.float32]
    colours: NDArray[np.uint8]


class _Lens(NamedTuple):
    """The last fields of a `PosedImage`."""

    matrix: Matrix
    distortion: Distortion
    sides: tuple[float, float]


class _Line(NamedTuple):
    """An image of a model: rotation and translation, id of its camera, name."""

    motion: Sequence[float]
    camera: int
    name: str


def read_colmap(folder: Path, missing: Missing = "error", images: str = "images") -> list[PosedImage]:
    """The photographs of a scene, in the natural order of their names.

    Args:
        folder: folder of the model (see PLACES) and of the folder of photographs.
        missing: "skip" omits photographs without a file.
        images: name of the folder of photographs.

    Raises:
        DataError: a file is invalid, a camera model is not understood, or a camera or photograph occurs twice; the
            message names the file.
    """
    lenses = dict[int, _Lens]()
    for number, lens in _read(folder, "cameras", _text_cameras, _binary_cameras):
        if number in lenses:
            raise DataError(
                f"{_model(folder, 'cameras')} has two cameras {number}.", "Export the model again."
            )
        lenses[number] = lens
    root = (folder / images).resolve()
    where = str(_model(folder, "images"))
    posed = [
        _posed(line, lenses, root, where) for line in _read(folder, "images", _text_images, _binary_images)
    ]
    if not posed:
        raise DataError(f"{where} contains no image.", "Export the model again.")
    check_present([image.path for image in posed], missing, where)
    return in_order((image for image in posed if is_file(image.path)), where)


def read_points(folder: Path) -> Points:
    """The sparse points of a scene's model; raises as `read_colmap`."""
    rows = np.array(list(_read(folder, "points3D", _text_points, _binary_points)), np.float64).reshape(-1, 6)
    if not np.isfinite(rows).all() or rows[:, 3:].min(initial=0) < 0 or rows[:, 3:].max(initial=0) > 255:
        raise DataError(f"{_model(folder, 'points3D')} contains invalid points.", "Export the model again.")
    return Points(rows[:, :3].astype(np.float32), rows[:, 3:].astype(np.uint8))


def _posed(line: _Line, lenses: dict[int, _Lens], root: Path, where: str) -> PosedImage:
    about = f"{where}, image {line.name!r}"
    if line.camera not in lenses:
        raise DataError(f"{about}: there is no camera {line.camera}.", "Export the model again.")
    view = view_of(_matrix(line.motion, about), about)
    return PosedImage(below(root, line.name, about), view, *lenses[line.camera])


def _matrix(motion: Sequence[float], where: str) -> Matrix:
    w, x, y, z = quaternion = np.array(motion[:4])
    length = np.linalg.norm(quaternion)
    if not math.isfinite(length) or length < 1e-6:
        raise DataError(
            f"{where}: the rotation must be a finite quaternion, got {motion[:4]}.", "Export the model again."
        )
    w, x, y, z = quaternion / length
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.concatenate([turn, np.array(motion[4:])[:, None]], 1)


def _lens(name: str, width: float, height: float, values: Sequence[float], where: str) -> _Lens:
    names = UNDERSTOOD.get(name, ())
    if not names or len(values) != len(names):
        raise not_understood(where, f"the camera model {name} with {len(values)} parameters")
    if not all(map(math.isfinite, (width, height, *values))) or min(width, height, *values[:2]) <= 0:
        raise DataError(
            f"{where}: focal lengths and image sizes must be positive.", "Export the model again."
        )
    told = dict(zip(names, values, strict=True))
    # models with f have one focal length for both axes
    fx, fy = told.get("fx", told.get("f", 0.0)), told.get("fy", told.get("f", 0.0))
    k1, k2, p1, p2 = (told.get(key, 0.0) for key in BENT)
    matrix = lens_of(fx, fy, told["cx"], told["cy"], width, height)
    return _Lens(matrix, (k1, k2, p1, p2), (float(width), float(height)))


def _model(folder: Path, name: str) -> Path:
    """The existing file of the model; binary files have priority over text files."""
    candidates = [folder / place / f"{name}{suffix}" for place in PLACES for suffix in (".bin", ".txt")]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise DataError(f"{folder} has no {name}.bin or {name}.txt.", f"Searched: {', '.join(PLACES)}.")
    return found


def _read(folder: Path, name: str, text: Callable[[Path], Any], binary: Callable[["_Bytes"], Any]) -> Any:
    path = _model(folder, name)
    return binary(_Bytes(path)) if path.suffix == ".bin" else text(path)


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The position and the words of each line; comments are skipped, empty lines are not."""
    for number, line in enumerate(read_text(path), start=1):
        if not line.startswith("#"):
            yield f"{path}, line {number}", line.split()


def _numbers(words: Sequence[str], where: str, least: int) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{where}: {error}.", "Export the model again.") from error
    if len(numbers) < least:
        raise DataError(f"{where} has too few numbers.", "Export the model again.")
    return numbers


def _whole(number: float, where: str) -> int:
    """The id of a camera."""
    found = integer(number)
    if found is None:
        raise DataError(
            f"{where}: the id of a camera must be an integer, got {number}.", "Export the model again."
        )
    return found


def _text_cameras(path: Path) -> Iterator[tuple[int, _Lens]]:
    for where, words in _rows(path):
        if words:
            number, width, height, *values = _numbers([*words[:1], *words[2:]], where, 4)
            yield _whole(number, where), _lens(words[1], width, height, values, where)


def _text_images(path: Path) -> Iterator[_Line]:
    """Reads images, which have two lines each; the second, with its points, may be empty."""
    rows = _rows(path)
    for where, words in rows:
        if words:
            numbers = _numbers(words[:9], where, 9)
            yield _Line(numbers[1:8], _whole(numbers[8], where), " ".join(words[9:]))
            where, points = next(rows, (where, []))
            # a file without these lines would lose every second image
            if len(points) % 3 or not _NUMBER.fullmatch(points[-1] if points else "-1"):
                raise DataError(
                    f"{where} is not the points of the image before it: x, y and an id of each, or an empty line.",
                    "Export the model again.",
                )


def _text_points(path: Path) -> Iterator[list[float]]:
    for where, words in _rows(path):
        if words:
            yield _numbers(words[1:7], where, 6)


class _Bytes:
    """A sequential reader of a binary file; raises a DataError if the file is truncated."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0
        with open_stream(path, MAX_ARRAY_BYTES) as stream:
            self._content = stream.read()

    def take(self, form: str) -> tuple[Any, ...]:
        """The next numbers, in struct's notation, little-endian without padding."""
        size = struct.calcsize(f"<{form}")
        self.skip(size)
        return struct.unpack_from(f"<{form}", self._content, self._at - size)

    def skip(self, size: int) -> None:
        """Skips bytes."""
        if self._at + size > len(self._content):
            raise DataError(f"{self.path} is truncated.", "Export the model again.")
        self._at += size

    def name(self) -> str:
        """The next zero-terminated text."""
        end = self._content.find(b"\0", self._at, self._at + MAX_NAME)
        if end < 0:
            raise DataError(f"{self.path} contains an unterminated name.", "Export the model again.")
        text = self._content[self._at : end].decode("utf-8", "replace")
        self._at = end + 1
        return text


def _binary_cameras(content: _Bytes) -> Iterator[tuple[int, _Lens]]:
    (count,) = content.take("Q")
    for _ in range(count):
        number, model, width, height = content.take("iiQQ")
        where, name = f"{content.path}, camera {number}", COLMAP[model] if 0 <= model < len(COLMAP) else ""
        if name not in UNDERSTOOD:
            raise not_understood(where, f"the camera model {name or model}")
        yield number, _lens(name, width, height, content.take(f"{len(UNDERSTOOD[name])}d"), where)


def _binary_images(content: _Bytes) -> Iterator[_Line]:
    (count,) = content.take("Q")
    for _ in range(count):
        _, *motion = content.take("i7d")
        (camera,) = content.take("i")
        name = content.name()
        (seen,) = content.take("Q")
        content.skip(24 * seen)
        yield _Line(motion, camera, name)


def _binary_points(content: _Bytes) -> Iterator[tuple[float, ...]]:
    (count,) = content.take("Q")
    for _ in range(count):
        _, *place, red, green, blue, _ = content.take("Q3d3Bd")
        (track,) = content.take("Q")
        content.skip(8 * track)
        yield *place, red, green, blue
