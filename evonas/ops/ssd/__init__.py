"""ssd: the token mixer of the VSS blocks; see `reference.py` for what it computes."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as kernels
from evonas.ops.ssd import native, reference, triton

IMPLEMENTATIONS: backend.Implementations = {"reference": reference.ssd}


def ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    a_BLN: Float[Tensor, "B L N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """Run `reference.ssd` or the faster implementation chosen by `evonas.ops.backend`."""
    operands = (x_BLNP, a_BLN, b_BLS, c_BLS, d_N)
    known = kernels.beside(IMPLEMENTATIONS, native.ssd, operands)
    if triton.is_usable(x_BLNP, b_BLS, a_BLN, c_BLS, d_N):
        known = {**known, "triton": triton.ssd}
    result: Tensor = backend.choose(known)(*operands)
    return result
