"""ElasticViT: parameters, multiply-adds, names and shapes of the published supernet and networks.

Parameters are those of whole networks with 1000 classes: affine parameters of norms, biases, whole tables of relative
positions, and convolutions of shortcuts where channels change. Published multiply-adds are those of the authors'
counter, in 10^6.
"""

import pytest

from evonas.nn.expanded_classifier import ExpandedClassifier
from evonas.supernets.base import classifier_cost, cost, published_macs
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.published import PUBLISHED
from evonas.supernets.elasticvit.space import vit_space
from evonas.supernets.supernet import Supernet

SPACE = vit_space()
FAMILY = ElasticViT(SPACE)
LAYERS = ElasticViT(vit_space("layers", per_layer=True))
SIZE = (224, 224)
NETWORKS = {
    "T1": (62.9151, 8_915_808),
    "T2": (119.9796, 9_309_401),
    "S1": (217.6419, 10_848_544),
    "S2": (318.5281, 10_237_638),
    "M": (415.5808, 12_022_952),
    "L1": (517.1076, 12_764_996),
    "L1.5": (618.7807, 14_706_044),
    "L2": (704.1106, 14_901_060),
    "L3": (815.3993, 15_344_982),
    "min200": (37.3650, 5_644_427),
    "min400": (159.9243, 8_459_518),
    "min800": (288.8094, 9_643_190),
}


@pytest.mark.parametrize("family", [FAMILY, LAYERS], ids=["per stage", "per layer"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(family: ElasticViT, name: str) -> None:
    found = family.published[name]
    genotype = family.space.parse(found.genotype)
    macs, params = NETWORKS[name]
    assert found.classes == 1000
    total = cost(family, genotype, SIZE) + classifier_cost(family, genotype, SIZE, 1000)
    assert total.params == params
    counted = published_macs(family, genotype, SIZE)
    assert counted is not None and counted / 1e6 == pytest.approx(macs, abs=1e-4)


def test_every_published_network_is_known() -> None:
    assert NETWORKS.keys() == PUBLISHED.keys() == FAMILY.published.keys() == LAYERS.published.keys()


def test_ends_of_the_space() -> None:
    smallest, largest = SPACE.smallest(), SPACE.largest()
    assert SPACE.format(smallest) == FAMILY.published["min200"].genotype
    counted = published_macs(FAMILY, largest, SIZE)
    assert counted is not None and counted / 1e6 == pytest.approx(3191.4588, abs=1e-4)


@pytest.mark.parametrize(
    ("side", "maps"),
    [
        (128, (32, 16, 8, 4, 2)),
        (160, (40, 20, 10, 5, 3)),
        (176, (44, 22, 11, 6, 3)),
        (192, (48, 24, 12, 6, 3)),
        (224, (56, 28, 14, 7, 4)),
        (256, (64, 32, 16, 8, 4)),
    ],
)
def test_sides_of_maps(side: int, maps: tuple[int, ...]) -> None:
    assert tuple(-(-side // level.stride) for level in FAMILY.levels) == maps


def test_names_and_shapes_of_the_state_dict() -> None:
    net = Supernet(FAMILY, ExpandedClassifier(FAMILY.levels, 1000), seed=None)
    assert sum(each.numel() for each in net.parameters()) == 40_488_174
    assert sum(each.numel() for each in net.buffers()) == 785_251
    found = {name.partition(".")[2]: tuple(each.shape) for name, each in net.state_dict().items()}
    wanted = {"first_conv.weight": (24, 3, 3, 3), **_norm("first_conv_bn", 24)}
    for layer in range(2):
        wanted |= _block(f"conv_stem.layers.{layer}.0", 24, 1, 5, expands=False)
    for stage, (depth, width) in enumerate(((5, 32), (6, 48))):
        for layer in range(depth):
            wanted |= _block(f"feature_exactor.{stage}.layers.{layer}.0", width, 6, 5, has_se=stage == 1)
    stages = [(5, 96, 16), (6, 160, 16), (6, 288, 8), (6, 320, 4)]
    for stage, (depth, width, side) in enumerate(stages, start=2):
        under = f"feature_exactor.{stage}.layers"
        wanted |= _block(f"{under}.0.reduction", width, 6, 3, has_se=True)
        for layer in range(depth):
            attention, forward = f"{under}.{2 * layer}", f"{under}.{2 * layer + 1}"
            wanted |= {
                f"{attention}.attention_bias": ((2 * side - 1) ** 2, width // 16),
                f"{attention}.relative_position_index": (side**2, side**2),
                f"{attention}.qkv.weight": (6 * width, width),
                f"{attention}.proj.weight": (width, 4 * width),
                f"{attention}.proj.bias": (width,),
                f"{attention}.dw_v_conv.weight": (4 * width, 1, 3, 3),
                f"{forward}.fc1.weight": (5 * width, width),
                f"{forward}.fc1.bias": (5 * width,),
                f"{forward}.fc2.weight": (width, 5 * width),
                f"{forward}.fc2.bias": (width,),
            }
            for half in (attention, forward):
                wanted |= {f"{half}.norm1.weight": (width,), f"{half}.norm1.bias": (width,)}
    wanted |= {
        "pre_head_0.weight": (1920, 320),
        "pre_head_0.bias": (1920,),
        **_norm("pre_head_norm_0", 1920),
        "pre_head_1.weight": (1984, 1920),
        "pre_head_1.bias": (1984,),
        "classifer.weight": (1000, 1984),
        "classifer.bias": (1000,),
    }
    assert found == wanted
    assert len(found) == 690


def _block(
    under: str, width: int, ratio: int, kernel: int, expands: bool = True, has_se: bool = False
) -> dict[str, tuple[int, ...]]:
    hidden = width * ratio
    found: dict[str, tuple[int, ...]] = {
        f"{under}.dw_conv.weight": (hidden, 1, kernel, kernel),
        **_norm(f"{under}.dw_bn", hidden),
        f"{under}.pwl_conv.weight": (width, hidden, 1, 1),
        **_norm(f"{under}.pwl_bn", width),
        f"{under}.shortcut_conv.weight": (width, width, 1, 1),
    }
    if expands:
        found |= {f"{under}.pw_conv.weight": (hidden, width, 1, 1), **_norm(f"{under}.pw_bn", hidden)}
    if has_se:
        found |= {
            f"{under}.se_conv1.weight": (hidden // 4, hidden, 1, 1),
            f"{under}.se_conv1.bias": (hidden // 4,),
            f"{under}.se_conv2.weight": (hidden, hidden // 4, 1, 1),
            f"{under}.se_conv2.bias": (hidden,),
        }
    return found


def _norm(under: str, channels: int) -> dict[str, tuple[int, ...]]:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{under}.{each}": (channels,) for each in vectors}, f"{under}.num_batches_tracked": ()}
