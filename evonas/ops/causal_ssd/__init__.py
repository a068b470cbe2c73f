"""causal_ssd: the state space duality (SSD) of Mamba-2, a causal token mixer; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as compiled
from evonas.ops.causal_ssd import chunked, mamba, native, reference, triton

IMPLEMENTATIONS: backend.Implementations = {
    "chunked": chunked.causal_ssd,
    "reference": reference.causal_ssd,
}
KERNELS: backend.Kernels = {
    "native": (compiled.is_usable, native.causal_ssd),
    "triton": (triton.is_usable, triton.causal_ssd),
    "mamba": (mamba.is_usable, mamba.causal_ssd),
}


def causal_ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    dt_BLN: Float[Tensor, "B L N"],
    a_N: Float[Tensor, " N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """Runs `reference.causal_ssd`, or the faster implementation chosen by `evonas.ops.backend`."""
    return backend.run(IMPLEMENTATIONS, KERNELS, (x_BLNP, dt_BLN, a_N, b_BLS, c_BLS, d_N))
