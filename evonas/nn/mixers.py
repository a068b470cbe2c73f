"""The token mixers: SSD with elastic inner and state width, and self-attention.

Legend: B batch, D width of a stage, H W space, L = H W tokens, N heads, P head dim, I = N P, S state.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.cost import MIXERS
from evonas.nn.elastic import ElasticDepthwise, ElasticLayerNorm, ElasticLinear
from evonas.ops.causal_ssd import causal_ssd
from evonas.ops.depthwise_silu import depthwise_silu
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
        mixer: `noncausal`, where a token reads all tokens by one state; or `bidirectional`, where it reads
            those before it by a walk of Mamba-2's SSD (arXiv 2405.21060) and those after it by a walk back
            with the same weights (the idea of Vision Mamba, arXiv 2401.09417): what is far fades.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        d_state: int,
        slice: Slice = "prefix",
        mixer: str = MIXERS[0],
    ) -> None:
        super().__init__()
        self.dim, self.heads, self.is_bidirectional = dim, heads, mixer == "bidirectional"
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
        tokens = depthwise_silu(self.token_proj(x, widths), *self.conv.narrow(widths)).flatten(1, 2)
        value, key, query = tokens.split(widths, dim=-1)
        dt = F.softplus(self.step_proj(x, (self.heads,)).flatten(1, 2) + self.dt_bias)
        y = self._read(value.unflatten(-1, (self.heads, -1)), dt, key, query)
        y = self.norm(y.reshape(*x.shape[:-1], inner)) * self.gate_proj(x, (inner,))
        return self.out_proj(y, (self.dim,))

    def _read(self, value: Tensor, dt: Tensor, key: Tensor, query: Tensor) -> Tensor:
        rate = torch.exp(self.A_log)
        if not self.is_bidirectional:
            return ssd(value, dt * rate, key, query, self.D)
        # the walk back brings no skip of its own
        back = (value.flip(1), dt.flip(1), -rate, key.flip(1), query.flip(1), torch.zeros_like(self.D))
        return causal_ssd(value, dt, -rate, key, query, self.D) + causal_ssd(*back).flip(1)


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
