"""The lens models of camera files, and which of them are understood.

A model is known by COLMAP's name and its parameters in COLMAP's order. Images of other models are refused: read as if
they were understood, their cameras would be wrong without a word.
"""

import re
from collections.abc import Mapping
from typing import Any

from evonas.errors import DataError

# COLMAP's models in the order of their ids
COLMAP = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE",
)  # fmt: skip
UNDERSTOOD: Mapping[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
BENT = ("k1", "k2", "p1", "p2")
# entries of transforms.json that bend rays, as instant-ngp, nerfstudio and others write them
_BENDS = re.compile(r"[bkps][0-9]{1,2}|skew|xi|ftheta_\w+|distortion\w*|rolling_shutter")
_OTHER_LENS = re.compile(r"(is_)?(fisheye|latlong|equirectangular|panorama|orthographic|spherical)")


def not_understood(where: str, what: str) -> DataError:
    """The error for a lens that evonas has no formula of.

    Args:
        where: file and entry.
        what: the lens or its parameter, as the file names it.
    """
    return DataError(
        f"{where}: {what} is not understood.",
        f"Undistort the images first, for example in COLMAP, or use one of {', '.join(UNDERSTOOD)}.",
    )


def refuse_other_lenses(told: Mapping[str, Any], where: str) -> None:
    """Refuses a lens of transforms.json that is not among UNDERSTOOD, or has a parameter besides those of its model.

    Without `camera_model` the model is OPENCV. Parameters of zero are those of every model.

    Raises:
        DataError: the message names the model or the parameter.
    """
    model = told.get("camera_model", "OPENCV")
    known = UNDERSTOOD.get(model.upper()) if isinstance(model, str) else None
    if known is None:
        raise not_understood(where, f"camera_model {model!r}")
    for key, value in told.items():
        name = key.lower()
        if _OTHER_LENS.fullmatch(name) and _says_something(value):
            raise not_understood(where, f"{key} {value!r}")
        if _BENDS.fullmatch(name) and name not in known and _says_something(value):
            raise not_understood(where, f"{key} {value!r} of a camera_model {model}")


def _says_something(value: Any) -> bool:
    """Whether a value is more than nothing, zero or zeros."""
    if isinstance(value, list):
        return any(map(_says_something, value))
    return value not in (None, False, 0, "", "false", "0")
