"""Once-for-All's MobileNetV3: parameters, multiply-adds, names and shapes of the published supernets and networks.

The figures are those of the original networks with 1000 classes or as many as a network has; multiply-adds are those of
convolutions and linear layers, squeeze-and-excitation included.
"""

import pytest

from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.space.genotype import Genotype
from evonas.supernets.base import classifier_cost, cost
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.formats import genotype_of
from evonas.supernets.ofa_mbv3.published import PUBLISHED
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.supernet import Supernet

SPACE = ofa_space()
FAMILIES = {width: OFAMobileNetV3(SPACE, width) for width in (1.0, 1.2)}
A = ("5537555557733757", "6633636446446364", "34324")
B = ("375773555733733", "643464463646366", "33243")
# kernels, expansions and depths, image size: (parameters, multiply-adds) of width 1.0 and of width 1.2
NETWORKS = [
    (("3" * 10, "3" * 10, "22222"), 128, (3_410_792, 41_476_224), (4_602_456, 65_536_896)),
    (("3" * 10, "3" * 10, "22222"), 160, (3_410_792, 63_240_528), None),
    (("3" * 10, "3" * 10, "22222"), 192, (3_410_792, 89_841_344), (4_602_456, 142_834_656)),
    (("3" * 10, "3" * 10, "22222"), 224, (3_410_792, 121_278_672), (4_602_456, 193_078_200)),
    (("5" * 15, "4" * 15, "33333"), 224, (4_551_792, 250_746_944), (6_245_312, 385_659_168)),
    (("7" * 20, "6" * 20, "44444"), 192, (7_664_760, 417_292_160), (10_701_632, 621_268_416)),
    (("7" * 20, "6" * 20, "44444"), 224, (7_664_760, 566_170_656), (10_701_632, 843_101_040)),
    (("7" * 20, "6" * 20, "44444"), 256, (7_664_760, 737_953_536), (10_701_632, 1_099_061_760)),
    (A, 192, (5_316_280, 216_507_008), (7_330_976, 333_215_936)),
    (B, 232, (5_732_424, 352_670_848), (7_963_624, 538_649_984)),
]
RELEASED = {
    "aircraft": (5_100_836, 384_686_184),
    "cars": (2_628_948, 196_999_680),
    "cifar10": (6_862_186, 464_108_720),
    "cifar100": (8_983_380, 791_260_208),
    "cinic10": (8_114_610, 497_741_616),
    "dtd": (3_076_735, 208_806_592),
    "flowers102": (4_184_478, 398_674_304),
    "food101": (4_465_693, 357_196_440),
    "nat-m1": (6_067_408, 222_557_600),
    "nat-m2": (7_688_312, 302_885_360),
    "nat-m3": (9_066_368, 482_413_168),
    "nat-m4": (9_135_928, 599_725_312),
    "pets": (5_004_405, 384_082_056),
    "stl10": (4_984_018, 367_675_488),
}


def _costs(family: OFAMobileNetV3, genotype: Genotype, classes: int) -> tuple[int, int]:
    size = (224, 224)
    found = cost(family, genotype, size) + classifier_cost(family, genotype, size, classes)
    return found.params, found.macs


@pytest.mark.parametrize("width", FAMILIES)
@pytest.mark.parametrize(("digits", "side", "one", "other"), NETWORKS)
def test_networks_of_the_supernets(
    digits: tuple[str, ...], side: int, one: tuple[int, int], other: tuple[int, int] | None, width: float
) -> None:
    wanted = one if width == 1.0 else other
    if wanted is not None:
        genotype = genotype_of(SPACE, *([int(digit) for digit in each] for each in digits), side)
        assert _costs(FAMILIES[width], genotype, 1000) == wanted


@pytest.mark.parametrize("name", PUBLISHED)
def test_released_networks(name: str) -> None:
    found = FAMILIES[1.0].published[name]
    family = OFAMobileNetV3(SPACE, **found.settings)
    assert found.classes is not None
    assert _costs(family, SPACE.parse(found.genotype), found.classes) == RELEASED[name]


def test_every_released_network_is_known() -> None:
    assert RELEASED.keys() == PUBLISHED.keys() == FAMILIES[1.0].published.keys()
    wide = {name for name, net in PUBLISHED.items() if net.width == 1.2}
    assert wide == RELEASED.keys() - {"cars", "dtd", "food101", "nat-m1", "stl10"}
    assert {name for name, net in PUBLISHED.items() if net.act_func == "mish"} == {
        "flowers102", "nat-m1", "nat-m2", "nat-m3", "nat-m4", "stl10",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("width", "channels", "params"),
    [
        (1.0, (16, 24, 40, 80, 112, 160, 960, 1280), 7_678_880),
        (1.2, (24, 32, 48, 96, 136, 192, 1152, 1536), 10_715_752),
    ],
)
def test_names_and_shapes_of_the_state_dict(width: float, channels: tuple[int, ...], params: int) -> None:
    stem, *stages, expand, mix = channels
    family = FAMILIES[width]
    net = Supernet(family, MobileNetV3Head(family.levels, 1000), seed=None)
    assert sum(each.numel() for each in net.parameters()) == params
    found = {name.partition(".")[2]: tuple(each.shape) for name, each in net.state_dict().items()}
    wanted = {
        "first_conv.conv.weight": (stem, 3, 3, 3),
        **_norm("first_conv.bn", stem),
        "blocks.0.conv.depth_conv.conv.weight": (stem, 1, 3, 3),
        **_norm("blocks.0.conv.depth_conv.bn", stem),
        "blocks.0.conv.point_linear.conv.weight": (stem, stem, 1, 1),
        **_norm("blocks.0.conv.point_linear.bn", stem),
        "final_expand_layer.conv.weight": (expand, stages[-1], 1, 1),
        **_norm("final_expand_layer.bn", expand),
        "feature_mix_layer.conv.weight": (mix, expand, 1, 1),
        "classifier.linear.weight": (1000, mix),
        "classifier.linear.bias": (1000,),
    }
    given, number = stem, 0
    for stage, out in enumerate(stages):
        for _ in range(4):
            number += 1
            wanted |= _block(f"blocks.{number}.conv", given, out, has_se=stage in (1, 3, 4))
            given = out
    assert found == wanted
    assert len(found) == 475


def _block(under: str, given: int, out: int, has_se: bool) -> dict[str, tuple[int, ...]]:
    # the hidden channels of every block of both supernets are six times multiples of 8
    hidden = 6 * given
    found: dict[str, tuple[int, ...]] = {
        f"{under}.inverted_bottleneck.conv.conv.weight": (hidden, given, 1, 1),
        **_norm(f"{under}.inverted_bottleneck.bn.bn", hidden),
        f"{under}.depth_conv.conv.conv.weight": (hidden, 1, 7, 7),
        f"{under}.depth_conv.conv.7to5_matrix": (25, 25),
        f"{under}.depth_conv.conv.5to3_matrix": (9, 9),
        **_norm(f"{under}.depth_conv.bn.bn", hidden),
        f"{under}.point_linear.conv.conv.weight": (out, hidden, 1, 1),
        **_norm(f"{under}.point_linear.bn.bn", out),
    }
    if has_se:
        squeezed = int(hidden // 4 + 4) // 8 * 8
        found |= {
            f"{under}.depth_conv.se.fc.reduce.weight": (squeezed, hidden, 1, 1),
            f"{under}.depth_conv.se.fc.reduce.bias": (squeezed,),
            f"{under}.depth_conv.se.fc.expand.weight": (hidden, squeezed, 1, 1),
            f"{under}.depth_conv.se.fc.expand.bias": (hidden,),
        }
    return found


def _norm(under: str, channels: int) -> dict[str, tuple[int, ...]]:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{under}.{each}": (channels,) for each in vectors}, f"{under}.num_batches_tracked": ()}
