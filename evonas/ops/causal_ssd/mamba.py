"""Causal state space duality by the kernels of the package mamba-ssm, on a GPU.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name the axes of a tensor.
"""

import importlib
from functools import cache
from importlib.util import find_spec

from jaxtyping import Float
from torch import Tensor

MODULE = "mamba_ssm.ops.triton.ssd_combined"
# tokens of a chunk, the value of mamba-ssm's Mamba-2 layer
CHUNK = 256


def is_usable(*operands: Tensor) -> bool:
    """Whether the package is installed and the operands are on a GPU."""
    return all(each.is_cuda for each in operands) and is_installed()


@cache
def is_installed() -> bool:
    """Whether the package can be imported, which needs the CUDA toolkit."""
    if find_spec("mamba_ssm") is None:
        return False
    try:
        importlib.import_module(MODULE)
    except ImportError:
        return False
    return True


def causal_ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    dt_BLN: Float[Tensor, "B L N"],
    a_N: Float[Tensor, " N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """Equals `reference.causal_ssd`, to the precision of the operands' dtype."""
    kernel = importlib.import_module(MODULE).mamba_chunk_scan_combined
    keys, queries = (each.unsqueeze(2) for each in (b_BLS, c_BLS))
    result: Tensor = kernel(x_BLNP, dt_BLN, a_N, keys, queries, chunk_size=CHUNK, D=d_N)
    return result
