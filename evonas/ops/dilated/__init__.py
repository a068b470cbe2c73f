"""dilated: the state fusion of Spatial-Mamba, a sum of dilated convolutions; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as compiled
from evonas.ops import triton as gpu
from evonas.ops.dilated import native, phased, reference, triton
from evonas.ops.dilated.reference import DILATIONS, depthwise, merge

IMPLEMENTATIONS: backend.Implementations = {"phased": phased.dilated, "reference": reference.dilated}
KERNELS: backend.Kernels = {
    "native": (compiled.is_usable, native.dilated),
    "triton": (gpu.is_usable, triton.dilated),
}


def dilated(
    x_BCHW: Float[Tensor, "B C H W"],
    kernels_KC33: Float[Tensor, "K C 3 3"],
    alpha_K: Float[Tensor, " K"],
) -> Float[Tensor, "B C H W"]:
    """Runs `reference.dilated`, or the faster implementation chosen by `evonas.ops.backend`."""
    return backend.run(IMPLEMENTATIONS, KERNELS, (x_BCHW, kernels_KC33, alpha_K))


__all__ = ["DILATIONS", "depthwise", "dilated", "merge"]
