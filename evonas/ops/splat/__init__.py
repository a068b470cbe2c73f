"""splat: rasterization of 3-D Gaussians; see `reference.py`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops.splat import kernels, paired, reference, tiled
from evonas.ops.splat.projection import Ellipses, project

Draw = Callable[[Ellipses, int, int], Tensor]


def _projected(draw: Draw, *operands: Any) -> Tensor:
    """The image of Gaussians that are projected to ellipses first."""
    height, width = operands[-2:]
    return draw(project(*operands), height, width)


IMPLEMENTATIONS: backend.Implementations = {
    "paired": partial(_projected, paired.draw),
    "tiled": partial(_projected, tiled.draw),
    "reference": partial(_projected, reference.draw),
}
KERNELS: backend.Kernels = {"gsplat": (kernels.is_usable, kernels.splat)}


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
    """Renders 3-D Gaussians on black, with the implementation chosen by `evonas.ops.backend`.

    On a GPU the fastest is gsplat, if it is installed.

    Args:
        means_N3: centres in the world.
        quats_N4: rotations, w x y z, of any length but zero.
        scales_N3: standard deviations along the own axes.
        opacities_N: in [0, 1].
        colours_NC: any channels.
        view_44: world to camera; x right, y down, z forward.
        intrinsics_33: of the pinhole camera, in pixels.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        The C channels and, last, the opacity of the pixel: D = C + 1.
    """
    shape = means_N3, quats_N4, scales_N3, opacities_N, colours_NC
    return backend.run(IMPLEMENTATIONS, KERNELS, shape, view_44, intrinsics_33, height, width)
