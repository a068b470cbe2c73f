"""Published parameter counts and multiply-adds of the VSS-ViT backbone.

The numbers were counted on the original networks; parameters hold to the unit and
multiply-adds to 0.01 G.
"""

import pytest

from evonas.nn.cost import NetworkShape, count_macs, count_params
from evonas.nn.trunk import Trunk
from evonas.space.evonet import architecture, evonet_space

SHAPE = NetworkShape((64, 128, 256, 512), (2, 4, 8, 16), stem_dim=32)
NYU, KITTI, IMAGENET = (480, 640), (352, 1216), (224, 224)

# name: text, parameters, {image size: GMACs}
PUBLISHED = {
    "max": (
        "evonet:m=4,4,4,4/s=64,64,64/e=4,4,4/d=11.1111.11111111.1111",
        27_411_228,
        {NYU: 37.485, KITTI: 52.431, IMAGENET: 6.072},
    ),
    "min": (
        "evonet:m=0.5,0.5,0.5,0.5/s=16,16,16/e=0.5,0.5,0.5/d=10.1000.10000000.1000",
        3_790_122,
        {NYU: 7.326},
    ),
    "VSSD-T": (
        "evonet:m=4,4,4,4/s=64,64,64/e=2,2,2/d=11.1111.11111111.1111",
        23_758_620,
        {NYU: 28.859, IMAGENET: 4.663},
    ),
    "NYU base": (
        "evonet:m=2,3.5,3,3/s=64,48,64/e=2,3,4/d=01.1010.11111110.1010",
        16_759_974,
        {NYU: 23.657},
    ),
    "NYU small": (
        "evonet:m=2,3.5,1,1/s=48,32,64/e=2,3,4/d=01.1000.11011100.1010",
        10_586_090,
        {NYU: 16.458},
    ),
    "NYU tiny": (
        "evonet:m=2,0.5,1,2/s=16,16,64/e=2,2,2/d=01.0100.00001000.1000",
        5_076_042,
        {NYU: 9.160},
    ),
    "KITTI base": (
        "evonet:m=3,3.5,3.5,4/s=48,32,32/e=1,4,4/d=01.1110.11011100.0001",
        12_837_058,
        {KITTI: 29.820},
    ),
    "KITTI small": (
        "evonet:m=4,1,3.5,2/s=48,16,32/e=1,4,2/d=10.0100.11011100.0001",
        9_051_370,
        {KITTI: 20.495},
    ),
    "KITTI tiny": (
        "evonet:m=2,0.5,1,1/s=16,16,64/e=0.5,0.5,2/d=10.0100.01000000.0010",
        4_455_626,
        {KITTI: 11.450},
    ),
}


@pytest.fixture(params=PUBLISHED, scope="module")
def published(request):
    text, params, macs = PUBLISHED[request.param]
    space = evonet_space()
    return architecture(space, space.parse(text)), params, macs


def test_parameters_in_closed_form(published):
    choice, params, _ = published
    assert count_params(choice, SHAPE) == params


def test_parameters_counted_on_the_network(published):
    choice, params, _ = published
    network = Trunk(choice, SHAPE, seed=None)
    assert sum(parameter.numel() for parameter in network.parameters()) == params


def test_macs_in_closed_form(published):
    choice, _, macs = published
    for (height, width), giga in macs.items():
        assert count_macs(choice, SHAPE, height, width) / 1e9 == pytest.approx(giga, abs=0.001)
