"""EvoNet's block: positional encoding by depthwise convolutions, token mixer and MLP, all residual.

Legend: B batch, D width of a stage, H W space.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.residual import ResidualBlock
from evonas.supernets.evonet import cost
from evonas.supernets.evonet.mixers import Attention, Depthwise, SSDMixer
from evonas.supernets.evonet.space import StageChoice


class MLP(nn.Module):
    """Two linear layers around a GELU.

    Args:
        dim: D.
        hidden: hidden width.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest D"]:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(ResidualBlock):
    """x + dw(x); + drop(mixer(LN x)); + dw(x); + drop(MLP(LN x)).

    The mixer is SSD if the stage has a state size, else self-attention.

    Args:
        dim: D.
        heads: heads of the mixer.
        choice: choices of the stage.
        drop_path: probability of dropping a residual branch of a sample in training.
        mixer: `noncausal` or `bidirectional`; see `SSDMixer`.
    """

    channels_last = True

    def __init__(
        self, dim: int, heads: int, choice: StageChoice, drop_path: float = 0.0, mixer: str = cost.MIXERS[0]
    ) -> None:
        super().__init__(drop_path)
        self.cpe1, self.cpe2 = Depthwise(dim), Depthwise(dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixer: SSDMixer | Attention
        if choice.d_state is None:
            self.mixer = Attention(dim, heads)
        else:
            self.mixer = SSDMixer(dim, heads, cost.ssd_width(choice, dim), choice.d_state, mixer)
        self.mlp = MLP(dim, cost.mlp_width(choice, dim))

    def forward(self, x: Float[Tensor, "B H W D"]) -> Float[Tensor, "B H W D"]:
        x = x + self.cpe1(x)
        x = x + self.drop(self.mixer(self.norm1(x)))
        x = x + self.cpe2(x)
        return x + self.drop(self.mlp(self.norm2(x)))
