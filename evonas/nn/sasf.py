"""SASF, the block of EvoNAS's decoders: a selective scan with spatial fusion of its states.

Legend: B batch, C channels, H W space, L = H W tokens in raster order, I width of the mixer, R rank of the steps.
"""

import copy
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.initialise import inverse_softplus, step_sizes, uniform_by_fan_in
from evonas.ops.depthwise_silu import depthwise_silu
from evonas.ops.dilated import DILATIONS, depthwise, dilated, merge
from evonas.ops.scan import scan


class StateFusion(nn.Module):
    """Sums dilated 3x3 depthwise convolutions of the states.

    Args:
        channels: I.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.ones(len(DILATIONS), channels, 3, 3))
        self.alpha = nn.Parameter(torch.ones(len(DILATIONS)))

    def draw_weights(self, generator: torch.Generator) -> None:
        """Initialises all kernels and factors with one (Spatial-Mamba, arXiv 2410.15091)."""
        del generator
        self.kernels.fill_(1)
        self.alpha.fill_(1)

    def forward(self, states: Float[Tensor, "B I H W"]) -> Float[Tensor, "B I H W"]:
        """Maps of the same size; edges are replicated."""
        return dilated(states, self.kernels, self.alpha)


class FusedStates(nn.Module):
    """A `StateFusion` merged into one constant 11x11 depthwise convolution.

    Args:
        source: its parameters are copied.
    """

    kernel: Tensor

    def __init__(self, source: StateFusion) -> None:
        super().__init__()
        self.register_buffer("kernel", merge(source.kernels.detach(), source.alpha.detach()))

    def forward(self, states: Float[Tensor, "B I H W"]) -> Float[Tensor, "B I H W"]:
        """Maps of the same size; edges are replicated."""
        return depthwise(states, self.kernel)


class ScanMixer(nn.Module):
    """SASF's mixer: a selective scan in raster order, spatial fusion of its states, output and gating.

    h = scan(x, dt, A, B), y = C fusion(h) + D x, out = W (LN(y) silu(z)), where x = silu(dw(W_x u)) and
    dt, B, C are linear in x. Spatial-Mamba (arXiv 2410.15091) with a state of size one.

    Args:
        dim: C.
        width: I.
        rank: R.
    """

    def __init__(self, dim: int, width: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.value_proj = nn.Linear(dim, width, bias=False)
        self.gate_proj = nn.Linear(dim, width, bias=False)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.scan_proj = nn.Linear(width, rank + 2, bias=False)
        self.dt_weight = nn.Parameter(torch.empty(width, rank))
        self.dt_bias = nn.Parameter(torch.empty(width))
        self.A_log = nn.Parameter(torch.zeros(width))
        self.D = nn.Parameter(torch.ones(width))
        self.fusion: StateFusion | FusedStates = StateFusion(width)
        self.norm = nn.LayerNorm(width)
        self.out_proj = nn.Linear(width, dim, bias=False)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Initialises A and D with one and step sizes log-uniformly in [1e-3, 1e-1] (Mamba, arXiv 2312.00752)."""
        self.D.fill_(1)
        self.A_log.zero_()
        uniform_by_fan_in(self.dt_weight, self.rank, generator)
        self.dt_bias.copy_(inverse_softplus(step_sizes(self.dt_bias.numel(), generator)))

    def forward(self, u: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Mixes maps with channels last."""
        assert self.conv.bias is not None
        x = depthwise_silu(self.value_proj(u), self.conv.weight, self.conv.bias)
        steps, write, read = self.scan_proj(x).split([self.rank, 1, 1], dim=-1)
        dt = F.softplus(F.linear(steps, self.dt_weight, self.dt_bias))
        states = scan(x.flatten(1, 2), dt.flatten(1, 2), -torch.exp(self.A_log), write.flatten(1))
        fused = _last(self.fusion(_first(states.view(x.shape))))
        y = self.norm(read * fused + self.D * x)
        return self.out_proj(y * F.silu(self.gate_proj(u)))


class SASF(nn.Module):
    """x + dw(x); + ScanMixer(LN x); + dw(x); + MLP(LN x).

    Args:
        dim: C.
        expand: width of the mixer divided by C.
        mlp_ratio: hidden width of the MLP divided by C.
    """

    def __init__(self, dim: int, expand: float = 2.0, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(mlp_ratio * dim)
        self.cpe1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.cpe2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixer = ScanMixer(dim, int(expand * dim), math.ceil(dim / 16))
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Maps of any size; the result has channels last in memory."""
        x = x + self.cpe1(x)
        x = x + _first(self.mixer(self.norm1(_last(x))))
        x = x + self.cpe2(x)
        return x + _first(self.mlp(self.norm2(_last(x))))


def fuse(network: nn.Module) -> nn.Module:
    """A copy for inference in which every state fusion is merged into one 11x11 convolution.

    The copy is in eval mode, without gradients, and does not follow later changes of `network`.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, ScanMixer) and isinstance(module.fusion, StateFusion):
            module.fusion = FusedStates(module.fusion)
    return copied


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)
