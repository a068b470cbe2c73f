"""FasterSeg as a family: what it refuses, shared cells, and the levels that auxiliary heads read."""

from typing import Any

import numpy as np
import pytest
import torch

from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.fcn_head import FCNHead
from evonas.supernets.base import labels
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.space import architecture, fasterseg_space
from evonas.supernets.mbconv.space import mbconv_space
from evonas.supernets.profile import distinct_steps
from evonas.supernets.supernet import Supernet, extract

SMALL = fasterseg_space("small", 9, (32, 16), ("zoom", "conv2"), (4, 8))


def test_another_space_is_refused() -> None:
    with pytest.raises(UserError, match="Space other is not one of two branches"):
        FasterSeg(mbconv_space("other", ((4,),) * 4, ((1,),) * 4, (3,), (1,), (1.0,)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"base": 0}, "network.base must be an integer from 1, got 0"),
        ({"stem_width": 13}, "network.stem_width must be twelfths from 1 to 12, got 13"),
        ({"head_width": True}, "network.head_width must be twelfths"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        FasterSeg(SMALL, **arguments)


def test_published_networks_are_those_of_a_space_that_has_them() -> None:
    assert list(FasterSeg(fasterseg_space()).published) == ["fasterseg", "fasterseg_teacher"]
    assert not FasterSeg(SMALL).published
    assert not FasterSeg(fasterseg_space("saswot", widths=(4,), shared=3)).published


def test_a_level_of_zeros_where_a_subnet_is_narrower() -> None:
    family = FasterSeg(SMALL, base=3)
    net = Supernet(family, FCNHead(family.levels, 4)).eval()
    with torch.no_grad():
        maps = net.features(torch.randn(1, 3, 64, 64), family.space.smallest())
    middle = maps[1]
    # 16 of 32 channels at stride 16, and those of the second branch
    assert middle.shape[1] == 32 + 32 and not middle[:, 16:32].any() and middle[:, :16].any()


def test_auxiliary_heads_are_for_training() -> None:
    family = FasterSeg(SMALL, base=3)
    net = Supernet(family, FCNHead(family.levels, 4))
    images, genotype = torch.randn(2, 3, 64, 128), family.space.largest()
    learning = net(images, genotype)
    assert isinstance(learning, AuxiliaryOutput) and learning.weight == 0.2
    assert [tuple(each.shape) for each in (learning.main, *learning.others)] == [(2, 4, 64, 128)] * 3
    alone = extract(net, genotype)
    # images of other sizes are read at the next multiples of 64
    answer = alone.eval()(images[..., :50, :100])
    assert answer.shape == (2, 4, 50, 100)
    assert len(learning.detach().others) == 2 and not learning.detach().main.requires_grad


def test_branches_share_cells_of_the_first() -> None:
    family = FasterSeg(SMALL, base=3)
    rng = np.random.default_rng(0)
    for genotype in (SMALL.sample(rng) for _ in range(20)):
        of = architecture(SMALL, genotype)
        cells = family.build(genotype, None).cells
        first, second = (len(branch) for branch in of.branches)
        assert sum(name.startswith("a") for name in cells) == first
        assert sum(name.startswith("b") for name in cells) == second - of.shared


def test_every_step_of_the_published_space_is_known() -> None:
    family = FasterSeg(fasterseg_space())
    known = {step.label for step, _ in distinct_steps(family)}
    rng = np.random.default_rng(3)
    for genotype in (family.space.sample(rng) for _ in range(100)):
        assert set(labels(family, genotype, (64, 64))) <= known
