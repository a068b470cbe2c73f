"""Causal state space duality by matrix products within chunks of tokens, and a recurrence between chunks.

Legend: B batch, K chunks, T tokens of a chunk, L tokens, N heads, P head dim, S state. Suffixes name axes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# of 16 to 256, 32 and 64 are the fastest on a CPU, forward and with gradients
TOKENS = 64


def causal_ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    dt_BLN: Float[Tensor, "B L N"],
    a_N: Float[Tensor, " N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """Equals `reference.causal_ssd`, by the block decomposition of Mamba-2 (arXiv 2405.21060, section 6).

    Logarithms of decays are summed within a chunk only, and only their non-positive differences towards earlier
    tokens are exponentiated, so nothing overflows.
    """
    dtype = torch.promote_types(x_BLNP.dtype, torch.float32)
    x, dt, a, b, c, d = (each.to(dtype) for each in (x_BLNP, dt_BLN, a_N, b_BLS, c_BLS, d_N))
    weighted_BKTNP, log_BKTN, b_BKTS, c_BKTS = (
        _chunks(each) for each in (x * dt.unsqueeze(-1), dt * a, b, c)
    )
    log_BKNT = log_BKTN.transpose(2, 3).cumsum(dim=-1)
    within = _within(weighted_BKTNP, log_BKNT, b_BKTS, c_BKTS)
    entering_BKNSP = _entering(weighted_BKTNP, log_BKNT, b_BKTS)
    before = torch.einsum("bkts,bknt,bknsp->bktnp", c_BKTS, log_BKNT.exp(), entering_BKNSP)
    read_BLNP = (within + before).flatten(1, 2)[:, : x.shape[1]]
    return torch.addcmul(read_BLNP, x, d.unsqueeze(-1)).to(x_BLNP.dtype)


def _chunks(x: Float[Tensor, "B L *rest"]) -> Float[Tensor, "B K T *rest"]:
    """Splits tokens into chunks; the last one is padded with zeros, which neither write nor decay states."""
    missing = -x.shape[1] % TOKENS
    padded = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return padded.unflatten(1, (-1, TOKENS))


def _within(weighted_BKTNP: Tensor, log_BKNT: Tensor, b_BKTS: Tensor, c_BKTS: Tensor) -> Tensor:
    """What tokens read from tokens of their own chunk, B K T N P."""
    above = torch.ones(TOKENS, TOKENS, dtype=torch.bool, device=log_BKNT.device).triu(diagonal=1)
    ratio_BKNTT = (log_BKNT.unsqueeze(-1) - log_BKNT.unsqueeze(-2)).masked_fill(above, -torch.inf).exp()
    scores_BKNTT = ratio_BKNTT * (c_BKTS @ b_BKTS.transpose(-1, -2)).unsqueeze(2)
    return (scores_BKNTT @ weighted_BKTNP.transpose(2, 3)).transpose(2, 3)


def _entering(weighted_BKTNP: Tensor, log_BKNT: Tensor, b_BKTS: Tensor) -> Tensor:
    """The state before the first token of every chunk, B K N S P."""
    total_BKN = log_BKNT[..., -1]
    left_BKNT = (total_BKN.unsqueeze(-1) - log_BKNT).exp()
    written_BKNSP = torch.einsum("bkts,bknt,bktnp->bknsp", b_BKTS, left_BKNT, weighted_BKTNP)
    state_BNSP, entering = torch.zeros_like(written_BKNSP[:, 0]), []
    for decay_BN, written_BNSP in zip(total_BKN.exp().unbind(1), written_BKNSP.unbind(1), strict=True):
        entering.append(state_BNSP)
        state_BNSP = torch.addcmul(written_BNSP, decay_BN[..., None, None], state_BNSP)
    return torch.stack(entering, dim=1)
