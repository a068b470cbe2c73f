"""Gaussian splatting by the CUDA kernels of gsplat (Ye et al., arXiv 2409.06765), an optional package."""

from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.ops.splat.projection import BLUR, NEAR


def is_usable(*operands: Tensor) -> bool:
    """Whether gsplat is installed and supports these operands."""
    known = all(each.is_cuda and each.dtype is torch.float32 for each in operands)
    return known and find_spec("gsplat") is not None


def splat(
    means_N3: Float[Tensor, "N 3"],
    quats_N4: Float[Tensor, "N 4"],
    scales_N3: Float[Tensor, "N 3"],
    opacities_N: Float[Tensor, " N"],
    colours_NC: Float[Tensor, "N C"],
    view_44: Float[Tensor, "4 4"],
    intrinsics_33: Float[Tensor, "3 3"],
    height: int,
    width: int,
) -> Float[Tensor, "H W D"]:
    """See `reference.splat`; needs float32 on a CUDA device."""
    from gsplat import rasterization

    shape = means_N3, quats_N4, scales_N3, opacities_N, colours_NC
    camera = view_44[None], intrinsics_33[None], width, height
    image, alpha, _ = rasterization(*shape, *camera, near_plane=NEAR, eps2d=BLUR, packed=False)
    return torch.cat([image[0], alpha[0]], -1)
