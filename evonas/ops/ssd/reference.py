"""Non-causal state space duality in plain torch.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name the axes of a tensor.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    a_BLN: Float[Tensor, "B L N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """Linear attention without mask and normalisation: y_l = c_l sum_k b_k (a_k x_k)^T + d x_l.

    VSSD (arXiv 2407.18559), the non-causal form of Mamba-2 in which every token reads one global state per head. All
    heads share b and c, so the heads fold into one product.

    Args:
        x_BLNP: values.
        a_BLN: weight of each token in each head; non-negative in the network.
        b_BLS: keys.
        c_BLS: queries.
        d_N: skip per head.
    """
    weighted_BLI = (x_BLNP * a_BLN.unsqueeze(-1)).flatten(2)
    state_BSI = b_BLS.transpose(1, 2) @ weighted_BLI
    read_BLNP = (c_BLS @ state_BSI).view_as(x_BLNP)
    return torch.addcmul(read_BLNP, x_BLNP, d_N.unsqueeze(-1))
