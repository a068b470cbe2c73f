"""The two token mixers: non-causal SSD with elastic inner and state width, and self-attention.

Legend: B batch, D width of a stage, H W space, L = H W tokens, N heads, P head dim, I = N P, S state.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.elastic import ElasticDepthwise, ElasticLayerNorm, ElasticLinear
from evonas.ops.ssd import ssd

Slice = Literal["prefix", "per_head"]


class SSDMixer(nn.Module):
    """VSSD's mixer (arXiv 2407.18559): y = LN(SSD(x, dt A, B, C) + D x) * z, the gate being linear.

    The inner width I and the state size S are arguments; the heads are as many for every I.
    A subnet has the first I channels of all (`prefix`), so that a channel may belong to another
    head when I changes, or the first I / N channels of every head (`per_head`), so that it stays.
    Mamba-2 holds the three input projections in one matrix with the rows z, x, B, C, dt; apart,
    nothing is cut and joined again.

    Args:
        dim: D.
        heads: N; it divides every I asked for.
        inner: largest I.
        d_state: largest S.
        slice: which channels of the inner width a subnet has.
    """

    def __init__(self, dim: int, heads: int, inner: int, d_state: int, slice: Slice = "prefix") -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        parts = heads if slice == "per_head" else 1
        self.gate_proj = ElasticLinear(dim, (inner,), bias=False, heads=parts)
        self.token_proj = ElasticLinear(dim, (inner, d_state, d_state), bias=False, heads=parts)
        self.step_proj = ElasticLinear(dim, (heads,), bias=False)
        self.conv = ElasticDepthwise((inner, d_state, d_state), heads=parts)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = ElasticLayerNorm(inner, heads=parts)
        self.out_proj = ElasticLinear(inner, (dim,), bias=False, in_heads=parts)

    def forward(self, x: Float[Tensor, "B H W D"], inner: int, d_state: int) -> Float[Tensor, "B H W D"]:
        """Args: inner: I of the subnet; d_state: S of the subnet."""
        widths = (inner, d_state, d_state)
        tokens = F.silu(self.conv(self.token_proj(x, widths), widths)).flatten(1, 2)
        value, key, query = tokens.split(widths, dim=-1)
        dt = F.softplus(self.step_proj(x, (self.heads,)).flatten(1, 2) + self.dt_bias)
        a = dt * torch.exp(self.A_log)
        y = ssd(value.unflatten(-1, (self.heads, -1)), a, key, query, self.D)
        y = self.norm(y.reshape(*x.shape[:-1], inner)) * self.gate_proj(x, (inner,))
        return self.out_proj(y, (self.dim,))


class Attention(nn.Module):
    """Multi-head self-attention over all tokens; nothing in it is elastic.

    Args:
        dim: D.
        heads: N; it divides D.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B H W D"]) -> Float[Tensor, "B H W D"]:
        """softmax(q k^T / sqrt(P)) v in each head."""
        qkv = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(x.shape))
