"""One block: position by depthwise convolutions, a token mixer and an MLP, all residual.

Legend: B batch, D width of a stage, H W space.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn import cost
from evonas.nn.elastic import ElasticDepthwise, ElasticLinear
from evonas.nn.mixers import Attention, Slice, SSDMixer
from evonas.space.evonet import StageChoice


class MLP(nn.Module):
    """Two linear layers around a GELU, of elastic hidden width.

    Args:
        dim: D.
        hidden: largest hidden width.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim = dim
        self.fc1 = ElasticLinear(dim, (hidden,))
        self.fc2 = ElasticLinear(hidden, (dim,))

    def forward(self, x: Float[Tensor, "*rest D"], hidden: int) -> Float[Tensor, "*rest D"]:
        """Args: hidden: width of the subnet."""
        return self.fc2(F.gelu(self.fc1(x, (hidden,))), (self.dim,))


class Block(nn.Module):
    """x + dw(x); + drop(mixer(LN x)); + dw(x); + drop(MLP(LN x)).

    The mixer is an SSD where the stage has a state size, else self-attention.

    Args:
        dim: D.
        heads: heads of the mixer.
        largest: the largest choice this block must serve.
        drop_path: probability that a residual branch of a sample is dropped while training.
        slice: which channels of an SSD mixer a subnet has.
        mixer: which tokens a token reads, one of `cost.MIXERS`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        largest: StageChoice,
        drop_path: float = 0.0,
        slice: Slice = "prefix",
        mixer: str = cost.MIXERS[0],
    ) -> None:
        super().__init__()
        self.dim, self.drop_path = dim, drop_path
        self.cpe1, self.cpe2 = ElasticDepthwise((dim,)), ElasticDepthwise((dim,))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixer: SSDMixer | Attention
        if largest.d_state is None:
            self.mixer = Attention(dim, heads)
        else:
            inner = cost.inner(largest, dim)
            self.mixer = SSDMixer(dim, heads, inner, largest.d_state, slice, mixer)
        self.mlp = MLP(dim, cost.hidden(largest, dim))

    def forward(self, x: Float[Tensor, "B H W D"], choice: StageChoice) -> Float[Tensor, "B H W D"]:
        """Args: choice: of the subnet; at most as large as `largest` in every width."""
        x = x + self.cpe1(x, (self.dim,))
        x = x + self._drop(self._mix(self.norm1(x), choice))
        x = x + self.cpe2(x, (self.dim,))
        return x + self._drop(self.mlp(self.norm2(x), cost.hidden(choice, self.dim)))

    def _mix(self, x: Tensor, choice: StageChoice) -> Tensor:
        if choice.d_state is None:
            return self.mixer(x)
        return self.mixer(x, cost.inner(choice, self.dim), choice.d_state)

    def _drop(self, branch: Tensor) -> Tensor:
        return drop_path(branch, self.drop_path) if self.training else branch


def drop_path(x: Float[Tensor, "B ..."], rate: float) -> Float[Tensor, "B ..."]:
    """Zero whole samples with probability `rate` and scale the rest, so that the mean stays.

    Draws from torch's default generator of the device, which training seeds at every step.
    """
    if rate == 0.0:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - rate)
    return x * keep / (1 - rate)
