"""The published networks: parameters and multiply-adds of the backbone and of whole depth networks.

The figures were counted on the original networks. Parameters hold to the unit where they are
given to the unit; multiply-adds are those of convolutions and matrix products, with every state
fusion as the one 11x11 kernel of inference, of which the trained form has 94 taps fewer. Averages
over cells are products here alone, so they are taken off before comparing.
"""

import pytest

from evonas.nn.count import count_head
from evonas.nn.level import Level
from evonas.nn.sasf import fuse
from evonas.nn.topdown import SASFDecoder
from evonas.supernets.base import cost
from evonas.supernets.evonet.cost import NetworkShape
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.published import ADE20K, COCO, IMAGENET, KITTI, NYU, PUBLISHED
from evonas.supernets.evonet.space import evonet_space

SHAPE = NetworkShape((64, 128, 256, 512), (2, 4, 8, 16), stem_dim=32)
FAMILY = EvoNet(evonet_space(), SHAPE.dims, SHAPE.heads)
DECODER = 13_508_173

# name: parameters, {image size: GMACs} of the backbone
BACKBONES = {
    "max": (27_411_228, {NYU: 37.485, KITTI: 52.431, IMAGENET: 6.072}),
    "min": (3_790_122, {NYU: 7.326}),
    "vssd-tiny": (23_758_620, {NYU: 28.859, IMAGENET: 4.663}),
    "nyu-base": (16_759_974, {NYU: 23.657}),
    "nyu-small": (10_586_090, {NYU: 16.458}),
    "nyu-tiny": (5_076_042, {NYU: 9.160}),
    "kitti-base": (12_837_058, {KITTI: 29.820}),
    "kitti-small": (9_051_370, {KITTI: 20.495}),
    "kitti-tiny": (4_455_626, {KITTI: 11.450}),
}
# likewise, in millions and to one decimal
ROUNDED = {
    "coco-base": (18.93, {COCO: 81.0}),
    "coco-small": (9.60, {COCO: 46.4}),
    "coco-tiny": (9.32, {COCO: 41.1}),
    "ade20k-base": (13.34, {ADE20K: 79.7}),
    "ade20k-small": (8.14, {ADE20K: 47.6}),
    "ade20k-tiny": (4.61, {ADE20K: 33.5}),
    "min": (3.790, {KITTI: 10.3, IMAGENET: 1.2}),
}
# name: parameters, {image size: (GMACs, decimals given)} of the whole depth network
WHOLE = {
    "max": (40_919_401, {NYU: (48.2, 1), KITTI: (67.3, 1)}),
    "min": (17_298_295, {NYU: (18.0, 1), KITTI: (25.1, 1)}),
    "vssd-tiny": (37_266_793, {NYU: (39.5, 1)}),
    "nyu-base": (30_268_147, {NYU: (34.34, 2)}),
    "nyu-small": (24_094_263, {NYU: (27.14, 2)}),
    "nyu-tiny": (18_584_215, {NYU: (19.84, 2)}),
    "kitti-base": (26_345_231, {KITTI: (44.6, 1)}),
    "kitti-small": (22_559_543, {KITTI: (35.3, 1)}),
    "kitti-tiny": (17_963_799, {KITTI: (26.3, 1)}),
}


def _cost(name, size=(224, 224)):
    return cost(FAMILY, FAMILY.space.parse(PUBLISHED[name].genotype), size)


def _giga(name, size):
    return _cost(name, size).macs / 1e9


def _averages(size):
    """GMACs of two poolings over 20x20 and 12x12 cells, first along columns, then along rows."""
    height, width, quarter = size[0] // 32, size[1] // 32, SHAPE.dims[-1] // 4
    return 2 * quarter * sum(cells * height * width + cells**2 * width for cells in (20, 12)) / 1e9


@pytest.fixture(scope="module")
def decoder():
    """The head, and its multiply-adds at the two sizes in the form of inference."""
    levels = [Level(dim, 4 * 2**at) for at, dim in enumerate(SHAPE.dims)]
    head = SASFDecoder(levels, 1, output="sigmoid", scale=80.0)
    fused = fuse(head)
    return head, {size: count_head(fused, levels, *size)[1] / 1e9 for size in (NYU, KITTI)}


def test_nothing_published_is_left_out():
    assert PUBLISHED.keys() == BACKBONES.keys() | ROUNDED.keys()
    assert all(set(sizes) <= set(PUBLISHED[name].sizes) for name, (_, sizes) in BACKBONES.items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_genotypes_are_written_as_the_space_writes_them(name):
    space, text = evonet_space(), PUBLISHED[name].genotype
    assert space.format(space.parse(text)) == text


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_in_closed_form(name):
    assert _cost(name).params == BACKBONES[name][0]


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_counted_on_the_network(name):
    network = FAMILY.build(FAMILY.space.parse(PUBLISHED[name].genotype), None)
    assert sum(parameter.numel() for parameter in network.parameters()) == BACKBONES[name][0]


@pytest.mark.parametrize("name", BACKBONES)
def test_macs_in_closed_form(name):
    for size, giga in BACKBONES[name][1].items():
        assert _giga(name, size) == pytest.approx(giga, abs=0.001)


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_figures_of_the_backbone(name):
    millions, sizes = ROUNDED[name]
    assert _cost(name).params / 1e6 == pytest.approx(millions, abs=0.006)
    for size, giga in sizes.items():
        assert _giga(name, size) == pytest.approx(giga, abs=0.05)


@pytest.mark.parametrize("name", WHOLE)
def test_parameters_with_the_decoder(name, decoder):
    head = sum(parameter.numel() for parameter in decoder[0].parameters())
    assert head == DECODER
    assert BACKBONES[name][0] + head == WHOLE[name][0]


@pytest.mark.parametrize("name", WHOLE)
def test_macs_with_the_decoder(name, decoder):
    for size, (giga, decimals) in WHOLE[name][1].items():
        tolerance = 0.01 if decimals == 2 else 0.05
        counted = _giga(name, size) + decoder[1][size] - _averages(size)
        assert counted == pytest.approx(giga, abs=tolerance)


def test_the_trained_form_of_the_decoder_has_fewer_taps(decoder):
    head, inference = decoder
    levels = [Level(dim, 4 * 2**at) for at, dim in enumerate(SHAPE.dims)]
    trained = count_head(head, levels, *NYU)[1] / 1e9
    states = sum(2 * level.channels * NYU[0] * NYU[1] / level.stride**2 for level in levels) / 1e9
    assert inference[NYU] - trained == pytest.approx((11 * 11 - 3 * 9) * states, abs=1e-9)
