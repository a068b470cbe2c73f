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
    result: Tensor = backend.choose({**_compiled(operands), **IMPLEMENTATIONS})(*operands)
    return result


def _compiled(operands: tuple[Tensor, ...]) -> backend.Implementations:
    """The compiled kernels that can take these operands, if any."""
    if kernels.is_usable(*operands):
        return {"native": native.ssd}
    x_BLNP, a_BLN, b_BLS, c_BLS, d_N = operands
    return {"triton": triton.ssd} if triton.is_usable(x_BLNP, b_BLS, a_BLN, c_BLS, d_N) else {}
