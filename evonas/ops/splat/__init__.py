"""splat: rasterization of 3-D Gaussians; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops.splat import kernels, paired, reference, tiled

IMPLEMENTATIONS: backend.Implementations = {
    "paired": paired.splat,
    "tiled": tiled.splat,
    "reference": reference.splat,
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
    """Runs `reference.splat`, or the faster implementation chosen by `evonas.ops.backend`.

    On a GPU the fastest is gsplat, if it is installed.
    """
    shape = means_N3, quats_N4, scales_N3, opacities_N, colours_NC
    return backend.run(IMPLEMENTATIONS, KERNELS, shape, view_44, intrinsics_33, height, width)
