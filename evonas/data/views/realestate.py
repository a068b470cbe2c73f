"""Reader of RealEstate10K's camera files, one per video (Zhou et al. 2018, arXiv 1805.09817).

The first line is the URL of the video. Every other line is a frame: its time in microseconds; focal lengths and
principal point as shares of width and height; two zeros for distortion; and the twelve numbers, row by row, of the 3x4
matrix from world to camera, with x right, y down and z forward.
"""

import re
from pathlib import Path

import numpy as np

from evonas.data.io.pictures import picture_file
from evonas.data.io.safe import Row, is_file, read_rows
from evonas.data.views.cameras import Missing, PosedImage, check_present, in_order, view_of
from evonas.data.views.lens_models import not_understood
from evonas.errors import DataError

COLUMNS = 19
TIME = re.compile(r"\d{1,20}")


def read_video(cameras: Path, frames: Path, missing: Missing = "error") -> list[PosedImage]:
    """The frames of a video in the order of time.

    Args:
        cameras: the text file.
        frames: folder of the images `<time>.jpg` or `.png`.
        missing: "skip" omits frames without an image file.

    Raises:
        DataError: a line is invalid or has lens distortion, a time occurs twice, or there are no frames; the message
            names the line.
    """
    rows = read_rows(cameras)
    listed = [_frame(row, frames) for row in rows if len(row.fields) > 1 or TIME.fullmatch(row.fields[0])]
    if not listed:
        raise DataError(f"{cameras} lists no frames.", "Use the camera files as published.")
    check_present([image.path for image in listed], missing, str(cameras))
    return in_order((image for image in listed if is_file(image.path)), str(cameras))


def _frame(row: Row, frames: Path) -> PosedImage:
    time, *words = row.fields
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{row.where}: {error}.", "Use the camera files as published.") from error
    if not TIME.fullmatch(time) or len(row.fields) != COLUMNS:
        raise DataError(
            f"{row.where} has {len(row.fields)} of {COLUMNS} columns.",
            "Expected: a time and eighteen numbers.",
        )
    fx, fy, cx, cy = numbers[:4]
    if not np.isfinite(numbers).all() or min(fx, fy) <= 0:
        raise DataError(f"{row.where}: focal lengths must be positive.", "Use the files as published.")
    if any(numbers[4:6]):
        raise not_understood(row.where, f"distortion {numbers[4]:g} {numbers[5]:g} in columns 6 and 7")
    lens = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    view = view_of(np.reshape(numbers[6:], (3, 4)), row.where)
    usual = frames / f"{time}.jpg"
    return PosedImage(usual if is_file(usual) else picture_file(frames / time) or usual, view, lens)
