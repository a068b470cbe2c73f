"""ssd: the non-causal state space duality of VSSD, the token mixer of VSS blocks; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as compiled
from evonas.ops.ssd import native, reference, triton

IMPLEMENTATIONS: backend.Implementations = {"reference": reference.ssd}
KERNELS: backend.Kernels = {
    "native": (compiled.is_usable, native.ssd),
    "triton": (triton.is_usable, triton.ssd),
}


def ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    a_BLN: Float[Tensor, "B L N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """Runs `reference.ssd`, or the faster implementation chosen by `evonas.ops.backend`."""
    return backend.run(IMPLEMENTATIONS, KERNELS, (x_BLNP, a_BLN, b_BLS, c_BLS, d_N))
