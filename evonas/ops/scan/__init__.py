"""scan: the selective scan with one state per channel; see `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from evonas.ops import backend
from evonas.ops import native as compiled
from evonas.ops import triton as gpu
from evonas.ops.scan import associative, native, reference, triton

IMPLEMENTATIONS: backend.Implementations = {"associative": associative.scan, "reference": reference.scan}
KERNELS: backend.Kernels = {
    "native": (compiled.is_usable, native.scan),
    "triton": (gpu.is_usable, triton.scan),
}


def scan(
    x_BLC: Float[Tensor, "B L C"],
    dt_BLC: Float[Tensor, "B L C"],
    a_C: Float[Tensor, " C"],
    b_BL: Float[Tensor, "B L"],
) -> Float[Tensor, "B L C"]:
    """Runs `reference.scan`, or the faster implementation chosen by `evonas.ops.backend`."""
    return backend.run(IMPLEMENTATIONS, KERNELS, (x_BLC, dt_BLC, a_C, b_BL))
