"""depthwise_silu: the local part of a state space mixer; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as kernels
from evonas.ops.depthwise_silu import native, reference

IMPLEMENTATIONS: backend.Implementations = {"reference": reference.depthwise_silu}


def depthwise_silu(
    x_BHWC: Float[Tensor, "B H W C"], kernels_C133: Float[Tensor, "C 1 3 3"], bias_C: Float[Tensor, " C"]
) -> Float[Tensor, "B H W C"]:
    """Run `reference.depthwise_silu` or the faster implementation chosen by `evonas.ops.backend`."""
    operands = (x_BHWC, kernels_C133, bias_C)
    known = kernels.beside(IMPLEMENTATIONS, native.depthwise_silu, operands)
    result: Tensor = backend.choose(known)(*operands)
    return result
