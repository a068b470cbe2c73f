"""The two-dimensional DCT-II and its inverse as two matrix products.

Legend: H W space.
"""

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Norm = Literal["ortho", "backward"]


def dct2(x: Float[Tensor, "*batch H W"], norm: Norm = "ortho") -> Float[Tensor, "*batch H W"]:
    """DCT-II along the last two axes, scaled as `scipy.fft.dctn(x, type=2, norm=norm)`.

    Half precision is computed in float32, also under autocast, since sums over a plane would lose accuracy.
    """
    rows, columns = (_matrix(size, norm, x.device, _working(x.dtype)) for size in x.shape[-2:])
    return _product(rows, x, columns)


def idct2(x: Float[Tensor, "*batch H W"], norm: Norm = "ortho") -> Float[Tensor, "*batch H W"]:
    """The inverse of `dct2` with the same `norm`."""
    rows, columns = (_inverse(size, norm, x.device, _working(x.dtype)) for size in x.shape[-2:])
    return _product(rows, x, columns)


def _product(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return (left @ x.to(left.dtype) @ right.T).to(x.dtype)


def _working(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@lru_cache(maxsize=64)
def _matrix(size: int, norm: Norm, device: torch.device, dtype: torch.dtype) -> Tensor:
    # a matrix first computed in inference mode must be usable in training later
    with torch.inference_mode(False):
        return _basis(size, norm).to(device, dtype)


@lru_cache(maxsize=64)
def _inverse(size: int, norm: Norm, device: torch.device, dtype: torch.dtype) -> Tensor:
    # the orthonormal basis has its transpose as inverse; the other basis differs by a scale per row
    with torch.inference_mode(False):
        basis = _basis(size, "ortho")
        scale = basis[:, :1] / _basis(size, norm)[:, :1]
        return (basis * scale).T.contiguous().to(device, dtype)


def _basis(size: int, norm: Norm) -> Tensor:
    # Ahmed, Natarajan and Rao 1974, as scaled by scipy: 2 cos(pi k (2n + 1) / 2N)
    k, n = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)
    basis = 2 * torch.cos(torch.pi * k * (2 * n + 1) / (2 * size))
    if norm == "backward":
        return basis
    scale = torch.full((size, 1), (1 / (2 * size)) ** 0.5, dtype=torch.float64)
    scale[0] = (1 / (4 * size)) ** 0.5
    return basis * scale
