"""Causal state space duality token by token, in plain torch.

Legend: B batch, L tokens, N heads, P head dim, I = N P, S state. Suffixes name the axes of a tensor.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def causal_ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    dt_BLN: Float[Tensor, "B L N"],
    a_N: Float[Tensor, " N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """y_l = c_l h_l + d x_l with states h_l = exp(dt_l a) h_(l-1) + b_l (dt_l x_l)^T, S x P per head.

    Mamba-2 (arXiv 2405.21060, equations 1 and 2, with one decay per head). All heads share b and c. Half precision is
    computed in float32.

    Args:
        x_BLNP: values, in scan order.
        dt_BLN: step sizes; non-negative in the network.
        a_N: rate of each head; non-positive in the network, so that states decay.
        b_BLS: keys.
        c_BLS: queries.
        d_N: skip per head.
    """
    dtype = torch.promote_types(x_BLNP.dtype, torch.float32)
    x, dt, a, b, c, d = (each.to(dtype) for each in (x_BLNP, dt_BLN, a_N, b_BLS, c_BLS, d_N))
    batch, tokens, heads, width = x.shape
    decay_BLN, weighted_BLNP = torch.exp(dt * a), x * dt.unsqueeze(-1)
    state_BNSP, read = x.new_zeros(batch, heads, b.shape[-1], width), []
    for token in range(tokens):
        written_BSI = b[:, token].unsqueeze(2) @ weighted_BLNP[:, token].flatten(1).unsqueeze(1)
        written_BNSP = written_BSI.unflatten(-1, (heads, width)).transpose(1, 2)
        state_BNSP = decay_BLN[:, token, :, None, None] * state_BNSP + written_BNSP
        read.append(torch.einsum("bs,bnsp->bnp", c[:, token], state_BNSP))
    return torch.addcmul(torch.stack(read, dim=1), x, d.unsqueeze(-1)).to(x_BLNP.dtype)
