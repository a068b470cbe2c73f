"""FasterSeg: parameters, multiply-adds and layers of the published networks and of uniform ones.

Parameters are those that inference uses: without the auxiliary heads, and without an attention over channels that the
original builds and never runs (2 x 128 x 128 weights of the student). Multiply-adds are those of convolutions.
"""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.fcn_head import FCNHead
from evonas.nn.level import Level
from evonas.supernets.base import classifier_cost, cost
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.published import PUBLISHED, PublishedBranch
from evonas.supernets.fasterseg.space import Architecture, fasterseg_space, genotype_of

SPACE, TO_8 = fasterseg_space(), fasterseg_space("to8", branches=(32, 8))
FULL, HALF = (1024, 2048), (512, 1024)
UNUSED_ATTENTION = 2 * 128 * 128


def _costs(family: FasterSeg, of: Architecture, size: tuple[int, int], classes: int) -> tuple[int, int]:
    genotype = genotype_of(family.space, of)
    found = cost(family, genotype, size) + classifier_cost(family, genotype, size, classes)
    return found.params, found.macs


@pytest.mark.parametrize(
    ("name", "size", "classes", "wanted"),
    [
        ("fasterseg", FULL, 19, (3_421_875, 27_770_486_784)),
        ("fasterseg", HALF, 19, (3_421_875, 6_942_621_696)),
        ("fasterseg", HALF, 11, (3_420_843, 6_934_233_088)),
        ("fasterseg_teacher", FULL, 19, (22_115_203, 107_778_932_736)),
    ],
)
def test_published_networks(name: str, size: tuple[int, int], classes: int, wanted: tuple[int, int]) -> None:
    net = FasterSeg(SPACE).published[name]
    assert net.classes == 19
    family = FasterSeg(SPACE, **net.settings)
    genotype = SPACE.parse(net.genotype)
    found = cost(family, genotype, size) + classifier_cost(family, genotype, size, classes)
    assert (found.params, found.macs) == wanted


@pytest.mark.parametrize(
    ("operator", "width", "second", "full", "half"),
    [
        (1, 4, (6,), (2_407_091, 30_110_908_416), (2_406_059, 7_519_338_496)),
        (2, 4, (6,), (2_407_091, 23_769_120_768), (2_406_059, 5_933_891_584)),
        (3, 4, (6,), (4_604_979, 40_378_564_608), (4_603_947, 10_086_252_544)),
        (4, 12, (6,), (27_954_739, 69_596_086_272), (27_953_707, 17_390_632_960)),
        (3, 4, (), (3_894_707, 38_650_511_360), None),
    ],
)
def test_uniform_networks(
    operator: int,
    width: int,
    second: tuple[int, ...],
    full: tuple[int, int],
    half: tuple[int, int] | None,
) -> None:
    layers = tuple(range(16))
    branches = [
        PublishedBranch(layers, downs, (operator,) * 16, (width,) * 15).cells for downs in ((4, 9), second)
    ]
    of = Architecture((2, len(second)), (branches[0], branches[1]))
    family = FasterSeg(SPACE if second else TO_8)
    assert _costs(family, of, FULL, 19) == full
    if half is not None:
        assert _costs(family, of, HALF, 11) == half


class _Counter:
    """Convolutions and norm elements of a network that runs on the meta device."""

    def __init__(self, net: nn.Module) -> None:
        self.layers: dict[str, tuple[int, int, int, str]] = {}
        self.macs: dict[str, int] = {}
        self.norm_elements = 0
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(self._convolution(name))
            elif isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(self._norm)

    def _convolution(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            weight = module.weight
            height, width = output.shape[-2:]
            self.layers[name] = (weight.shape[1], weight.shape[0], weight.shape[2], f"{height}x{width}")
            self.macs[name] = weight.numel() * height * width

        return hook

    def _norm(self, module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002
        self.norm_elements += output.numel()


@cache
def _student() -> tuple[_Counter, int]:
    """What runs when the student trains, and its parameters."""
    family = FasterSeg(SPACE)
    backbone = family.build(genotype_of(SPACE, PUBLISHED["fasterseg"].architecture), None)
    # its own level at stride 16 has 64 channels of the first branch and 128 of the second one
    head = FCNHead([Level(128, 8), Level(192, 16), Level(256, 32)], 19)
    params = sum(each.numel() for net in (backbone, head) for each in net.parameters())
    both = nn.ModuleDict({"backbone": backbone, "head": head}).to("meta").train()
    counter = _Counter(both)
    fine, middle, coarse = both["backbone"](torch.empty(1, 3, *FULL, device="meta"))
    assert middle.shape == (1, 192 + 128, 64, 128)
    output = both["head"]([fine, torch.cat([middle[:, :64], middle[:, 192:]], 1), coarse])
    assert isinstance(output, AuxiliaryOutput)
    assert [tuple(each.shape) for each in (output.main, *output.others)] == [(1, 19, *FULL)] * 3
    return counter, params


def test_the_student_as_it_trains() -> None:
    counter, params = _student()
    assert params + UNUSED_ATTENTION == 4_385_689
    assert sum(counter.macs.values()) == 31_736_201_216


def test_the_student_as_thop_counts_it() -> None:
    family = FasterSeg(SPACE)
    backbone = family.build(genotype_of(SPACE, PUBLISHED["fasterseg"].architecture), None)
    both = nn.ModuleDict({"backbone": backbone, "head": FCNHead([Level(128, 8)], 19)}).to("meta").eval()
    counter = _Counter(both)
    both["head"](both["backbone"](torch.empty(1, 3, *FULL, device="meta"))[:1])
    assert sum(counter.macs.values()) == 27_770_486_784
    assert counter.norm_elements == 65_404_928
    assert round((27_770_486_784 + 4 * counter.norm_elements) / 1e9, 4) == 28.0321


@pytest.mark.parametrize(
    ("name", "layer", "macs"),
    [
        ("backbone.stem.0.conv", (3, 32, 3, "512x1024"), 452_984_832),
        ("backbone.cells.a9_8down_zoom.conv1", (32, 128, 3, "64x128"), 301_989_888),
        ("backbone.joins.0.refines.1.conv", (192, 128, 3, "64x128"), 1_811_939_328),
        ("head.main.conv.conv", (128, 128, 3, "128x256"), 4_831_838_208),
        ("head.auxiliary.1.conv.conv", (256, 256, 3, "32x64"), 9 * 256 * 256 * 32 * 64),
        ("head.auxiliary.0.conv.conv", (192, 192, 3, "64x128"), 9 * 192 * 192 * 64 * 128),
    ],
)
def test_layers_of_the_student(name: str, layer: tuple[int, int, int, str], macs: int) -> None:
    counter, _ = _student()
    assert counter.layers[name] == layer and counter.macs[name] == macs


def test_cells_that_the_students_branches_have_in_common() -> None:
    of = PUBLISHED["fasterseg"].architecture
    assert of.shared == 3
    assert [len(branch) for branch in of.branches] == [10, 9]
