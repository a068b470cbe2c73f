"""Vectors as float32 arrays of shape (3, N): one contiguous row per axis is what NumPy does fastest."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def dot(a: Array, b: Array) -> Array:
    """Dot products of (3, N) with (3, N) or (3, 1)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def column(*values: float) -> Array:
    """One vector as (3, 1)."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def unit(vector: Array) -> Array:
    """The vectors scaled to length one."""
    return vector / np.sqrt(dot(vector, vector))


def safe_inverse(values: Array) -> Array:
    """Reciprocals in which a zero counts as a tiny positive number, so that no NaN arises."""
    return np.float32(1.0) / np.where(np.abs(values) < 1e-9, np.float32(1e-9), values)
