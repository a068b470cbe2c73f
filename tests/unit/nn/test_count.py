"""One counter: products of attention count wherever torch fuses them, and no module counts by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import evonas
from evonas.nn.count import count, count_costs

TOKENS, WIDTH, HEADS = 7, 12, 3
# queries with keys and weights with values, the projections beside them
PRODUCTS, PROJECTIONS = 2 * TOKENS**2 * WIDTH, 4 * TOKENS * WIDTH**2


class Fused(nn.Module):
    """Attention as most networks write it."""

    def forward(self, x: Tensor) -> Tensor:
        q = k = v = x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v)


class Module(nn.Module):
    """Torch's module, which has a fast path of its own in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, dim_feedforward=5, batch_first=True)


@pytest.mark.parametrize(
    ("make", "macs"),
    [
        (Fused, PRODUCTS),
        (Module, PRODUCTS + PROJECTIONS),
        (encoder, PRODUCTS + PROJECTIONS + 2 * TOKENS * WIDTH * 5),
    ],
)
def test_products_of_attention_are_counted_on_a_cpu(make: Callable[[], nn.Module], macs: int) -> None:
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            assert count(make().eval(), torch.zeros(1, TOKENS, WIDTH))[1] == macs
    assert torch.backends.mha.get_fastpath_enabled()


def test_convolutions_and_linear_layers_count_as_the_formula_says() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(8 * 4 * 6, 5))
    found = count_costs(net, (8, 12))
    assert found["macs"] == 8 * 4 * 6 * 27 + 8 * 4 * 6 * 5
    assert found["params"] == 8 * 27 + 8 + 8 * 4 * 6 * 5 + 5


def test_there_is_no_other_counter() -> None:
    sources = Path(evonas.__file__).parent.rglob("*.py")
    users = [path.name for path in sources if "FlopCounterMode" in path.read_text(encoding="utf-8")]
    assert users == ["count.py"]
