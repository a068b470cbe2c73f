"""Sizes that strides do not divide: an answer has the picture's size, or the sizes that divide are named."""

import pytest
import torch

from evonas.errors import UserError
from evonas.nn.gaussians import GaussianHead
from evonas.nn.heads import DenseHead
from evonas.nn.topdown import SASFDecoder
from evonas.nn.upernet import UPerNet
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import StaticNet, static_net

SPACE = evonet_space("odd", [1], [4], [1], [1, 1])
FAMILY = EvoNet(SPACE, (8, 16), (2, 2), stem_dim=4)


def net(head: torch.nn.Module) -> StaticNet:
    return static_net(FAMILY, head, SPACE.largest()).eval()


@torch.no_grad()
def test_a_dense_answer_is_that_of_the_larger_image_without_its_border() -> None:
    made = net(DenseHead(FAMILY.levels, 3, width=8))
    image = torch.randn(1, 3, 100, 130, generator=torch.Generator().manual_seed(0))
    answer, levels = made.forward_with_features(image)
    assert answer.shape == (1, 3, 100, 130)
    # cells of four pixels from the upper left corner: nothing is stretched
    whole = made.head(levels)
    assert whole.shape == (1, 3, 100, 132) and torch.equal(answer, whole[..., :130])
    assert made(image[..., :96, :128]).shape[-2:] == (96, 128)


@torch.no_grad()
@pytest.mark.parametrize("head", [UPerNet, GaussianHead])
def test_heads_that_answer_for_cells_name_the_sizes_that_divide(head: type) -> None:
    settings = {"side_width": 0, "context": "ppm", "width": 8} if head is UPerNet else {"width": 8}
    made = net(head(FAMILY.levels, 4, **settings))
    assert made(torch.zeros(1, 3, 96, 128)).shape[-2:] == (24, 32)
    with pytest.raises(UserError, match="sides are multiples of 8, got 100x130") as caught:
        made(torch.zeros(1, 3, 100, 130))
    assert caught.value.hint == "Pad or resize the images, for example to 104x136."


@torch.no_grad()
def test_the_published_decoder_names_them_too() -> None:
    made = net(SASFDecoder(FAMILY.levels, 1, pool_sizes=(2, 1)))
    assert made(torch.zeros(1, 3, 96, 128)).shape[-2:] == (96, 128)
    with pytest.raises(UserError, match="multiples of 8"):
        made(torch.zeros(1, 3, 100, 130))
