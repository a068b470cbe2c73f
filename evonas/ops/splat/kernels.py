"""Gaussian splatting by the CUDA kernels of gsplat (Ye et al., arXiv 2409.06765), an optional package."""

from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.ops.splat.projection import BLUR, NEAR


def is_usable(*operands: Tensor) -> bool:
    """Whether gsplat is installed and supports these operands."""
    known = all(each.is_cuda and each.dtype is torch.float32 for each in operands)
    return known and find_spec("gsplat") is not None


def splat(*operands: Any) -> Float[Tensor, "H W D"]:
    """Equals `evonas.ops.splat.splat`; needs float32 on a CUDA device."""
    from gsplat import rasterization

    *shape, view_44, intrinsics_33, height, width = operands
    camera = view_44[None], intrinsics_33[None], width, height
    image, alpha, _ = rasterization(*shape, *camera, near_plane=NEAR, eps2d=BLUR, packed=False)
    return torch.cat([image[0], alpha[0]], -1)
