"""The selective scan token by token, in plain torch.

Legend: B batch, L tokens, C channels. Suffixes name the axes of a tensor.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def scan(
    x_BLC: Float[Tensor, "B L C"],
    dt_BLC: Float[Tensor, "B L C"],
    a_C: Float[Tensor, " C"],
    b_BL: Float[Tensor, "B L"],
) -> Float[Tensor, "B L C"]:
    """The states h_l = exp(dt_l a) h_(l-1) + dt_l b_l x_l, starting from zero.

    Mamba (arXiv 2312.00752) with a state of size one. The states themselves are returned, since Spatial-Mamba (arXiv
    2410.15091) fuses them in space before they are read. Half precision is computed in float32.

    Args:
        x_BLC: values, in scan order.
        dt_BLC: step sizes; non-negative in the network.
        a_C: rate of each channel; non-positive in the network, so that states decay.
        b_BL: input weight of each token, shared by all channels.
    """
    dtype = torch.promote_types(x_BLC.dtype, torch.float32)
    x_BLC, dt_BLC, a_C, b_BL, given = *(t.to(dtype) for t in (x_BLC, dt_BLC, a_C, b_BL)), x_BLC.dtype
    h_BC, states = torch.zeros_like(x_BLC[:, 0]), []
    for token in range(x_BLC.shape[1]):
        dt_BC = dt_BLC[:, token]
        h_BC = torch.exp(dt_BC * a_C) * h_BC + dt_BC * b_BL[:, token, None] * x_BLC[:, token]
        states.append(h_BC)
    return torch.stack(states, dim=1).to(given)
