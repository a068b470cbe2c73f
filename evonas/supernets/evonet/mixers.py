"""Token mixers of EvoNet (SSD and self-attention) and the elastic layers in them.

Elastic layers read their width from their weights, so a subnet runs them on slices of the shared tensors.

Legend: B batch, C channels, D width of a stage, H W space, L = H W tokens, N heads, P head dim, I = N P, S state.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.initialise import inverse_softplus, step_sizes
from evonas.ops.causal_ssd import causal_ssd
from evonas.ops.depthwise_silu import depthwise_silu
from evonas.ops.ssd import ssd
from evonas.supernets.evonet.cost import MIXERS


class Depthwise(nn.Conv2d):
    """A 3x3 depthwise convolution of channels-last maps."""

    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, input: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        channels = self.weight.shape[0]
        y = F.conv2d(input.permute(0, 3, 1, 2), self.weight, self.bias, padding=1, groups=channels)
        return y.permute(0, 2, 3, 1)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the width of its weight."""

    def forward(self, input: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, self.eps)


class SSDMixer(nn.Module):
    """VSSD's mixer (arXiv 2407.18559): y = LN(SSD(x, dt A, B, C) + D x) * z, with a linear gate z.

    The number of heads is the same for every width I. Mamba-2 has the input projections in one matrix with the rows z,
    x, B, C, dt; separate projections avoid splitting and concatenating slices.

    Args:
        dim: D.
        heads: N; it divides every I.
        width: I.
        d_state: S.
        mixer: `noncausal`: a token reads all tokens through one state. `bidirectional`: it reads earlier tokens by
            Mamba-2's SSD (arXiv 2405.21060) and later tokens by the same SSD in reverse order with the same weights
            (as Vision Mamba, arXiv 2401.09417), so the influence of distant tokens decays.
    """

    def __init__(self, dim: int, heads: int, width: int, d_state: int, mixer: str = MIXERS[0]) -> None:
        super().__init__()
        self.heads, self.is_bidirectional = heads, mixer == "bidirectional"
        self.gate_proj = nn.Linear(dim, width, bias=False)
        self.token_proj = nn.Linear(dim, width + 2 * d_state, bias=False)
        self.step_proj = nn.Linear(dim, heads, bias=False)
        self.conv = Depthwise(width + 2 * d_state)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = LayerNorm(width)
        self.out_proj = nn.Linear(width, dim, bias=False)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Sets D to one; samples A uniformly in [1, 16] and step sizes log-uniformly in [1e-3, 1e-1] (Mamba-2)."""
        self.D.fill_(1)
        self.A_log.uniform_(1, 16, generator=generator).log_()
        self.dt_bias.copy_(inverse_softplus(step_sizes(self.heads, generator)))

    def forward(self, x: Float[Tensor, "B H W D"]) -> Float[Tensor, "B H W D"]:
        # the widths of a subnet are those of the slices that it is bound to
        width = self.out_proj.weight.shape[1]
        d_state = (self.conv.weight.shape[0] - width) // 2
        tokens = depthwise_silu(self.token_proj(x), self.conv.weight, self.conv.bias).flatten(1, 2)
        value, key, query = tokens.split((width, d_state, d_state), dim=-1)
        dt = F.softplus(self.step_proj(x).flatten(1, 2) + self.dt_bias)
        y = self._read(value.unflatten(-1, (self.heads, -1)), dt, key, query)
        y = self.norm(y.reshape(*x.shape[:-1], width)) * self.gate_proj(x)
        return self.out_proj(y)

    def _read(self, value: Tensor, dt: Tensor, key: Tensor, query: Tensor) -> Tensor:
        rate = torch.exp(self.A_log)
        if not self.is_bidirectional:
            return ssd(value, dt * rate, key, query, self.D)
        # the skip D x is added once, by the forward scan
        back = (value.flip(1), dt.flip(1), -rate, key.flip(1), query.flip(1), torch.zeros_like(self.D))
        return causal_ssd(value, dt, -rate, key, query, self.D) + causal_ssd(*back).flip(1)


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, without elastic dimensions.

    Args:
        dim: D.
        heads: N, a divisor of D.
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
