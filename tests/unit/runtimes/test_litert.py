"""Networks are prepared for LiteRT's converter, which is not needed for it."""

import pytest
import torch
from torch import Tensor, nn

from evonas.runtimes.litert import _without_antialiasing


class Resized(nn.Module):
    """Antialiased resizing, larger along one side and smaller along the other, and of weights."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.grid = nn.Parameter(torch.linspace(0, 1, 3 * 6 * 6).reshape(1, 3, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        small = nn.functional.interpolate(x, (9, 30), mode=self.mode, antialias=True)
        return small + nn.functional.interpolate(self.grid, (9, 30), mode=self.mode, antialias=True)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased_resizing_is_a_product_of_matrices(mode: str) -> None:
    net, images = Resized(mode).eval(), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        found = _without_antialiasing(net, images)
        given = images.flip(-1)
        torch.testing.assert_close(found(given), net(given), atol=1e-5, rtol=1e-5)
    assert not [each for each in found.graph.nodes if "_aa" in str(each.target)]


def test_another_network_is_left_as_it_is() -> None:
    net = nn.Conv2d(3, 4, 1).eval()
    assert _without_antialiasing(net, torch.rand(1, 3, 4, 4)) is net
