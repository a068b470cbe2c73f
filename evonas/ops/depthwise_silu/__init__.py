"""depthwise_silu: the depthwise convolution and activation of a state space mixer; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as compiled
from evonas.ops.depthwise_silu import native, reference

IMPLEMENTATIONS: backend.Implementations = {"reference": reference.depthwise_silu}
KERNELS: backend.Kernels = {"native": (compiled.is_usable, native.depthwise_silu)}


def depthwise_silu(
    x_BHWC: Float[Tensor, "B H W C"], kernels_C133: Float[Tensor, "C 1 3 3"], bias_C: Float[Tensor, " C"]
) -> Float[Tensor, "B H W C"]:
    """Runs `reference.depthwise_silu`, or the faster implementation chosen by `evonas.ops.backend`."""
    return backend.run(IMPLEMENTATIONS, KERNELS, (x_BHWC, kernels_C133, bias_C))
