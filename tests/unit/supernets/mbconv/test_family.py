"""What is MBConv's own: its cuts, its sizes, the spaces it takes, and the configs around it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from evonas import schema
from evonas.config import build
from evonas.errors import UserError
from evonas.nn.count import count_costs
from evonas.nn.heads import DenseHead
from evonas.space.declared import declared_space
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.mbconv.cost import input_size
from evonas.supernets.mbconv.family import MBConv
from evonas.supernets.mbconv.space import architecture, mbconv_space
from evonas.supernets.slices import bind
from evonas.supernets.static_net import static_net

CONF = Path(__file__).resolve().parents[4] / "conf"


def _composed(*words):
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(words))


@pytest.fixture(scope="module")
def nano():
    return build(_composed("network=nano_cnn").network)


def test_costs_of_the_small_network(nano):
    head = DenseHead(nano.levels, 1)
    ends = nano.space.smallest(), nano.space.largest()
    small, large = (count_costs(static_net(nano, head, each), (64, 96)) for each in ends)
    assert small["macs"] < 6e6 and 50e6 < large["macs"] < 80e6 and large["params"] < 1.5e6


def test_kernels_are_cut_from_the_middle_and_channels_from_the_start(nano):
    shared, smallest = nano.build(None, 0), nano.space.smallest()
    own, whole = (
        dict(net.named_parameters())["stages.0.blocks.0.space.weight"]
        for net in (bind(nano, shared, smallest), shared)
    )
    assert torch.equal(own, whole[: len(own), :, 1:-1, 1:-1])
    assert own.shape[-1] == 3 and whole.shape[-1] == 5


def test_blocks_are_numbered_through_the_stages():
    space = mbconv_space("small", ((4, 8), (8,)), ((1, 2), (2, 3)), (3, 5), (2, 3), (1.0,))
    names = [axis.name for axis in space.axes]
    assert names == ["r1", "w1", "w2", "d1", "d2", *(f"{each}{at}" for each in "ke" for at in range(1, 6))]
    assert [axis.expressed_by for axis in space.axes if axis.name.startswith("k")] == [
        None, "d1>=2", None, None, "d2>=3",
    ]  # fmt: skip
    of = architecture(space, space.encode({**space.decode(space.largest()), "k3": 3, "d2": 2}))
    assert [[block.kernel for block in stage.blocks] for stage in of.stages] == [[5, 5], [3, 5]]


def test_a_group_opens_all_its_genes(nano):
    rng = np.random.default_rng(0)
    points = [
        nano.space.decode(nano.space.sample(rng, {"kernel": "max", "resolution": "max"})) for _ in range(20)
    ]
    assert {values["k1"] for values in points} == {5} and {values["r1"] for values in points} == {1.0}
    assert len({values["w1"] for values in points}) > 1


@pytest.mark.parametrize(
    "resolution, size, read",
    [
        (1.0, (33, 47), (33, 47)),
        (0.75, (64, 96), (48, 72)),
        (0.5, (64, 96), (32, 48)),
        (0.5, (40, 20), (32, 20)),
        (0.75, (128, 150), (96, 112)),
    ],
)
def test_sizes_at_which_images_are_read(resolution, size, read):
    assert input_size(resolution, size) == read


@pytest.mark.parametrize(
    "space",
    [
        evonet_space(),
        declared_space("toy", {"k1": [3, 5]}, {"d1": 2}),
        declared_space(
            "free", {"r1": [1.0], "w1": [8], "d1": [1, 2], "k1": [3], "k2": [3, 5], "e1": [2], "e2": [2]}
        ),
    ],
    ids=lambda space: space.name,
)
def test_other_spaces_are_refused(space):
    with pytest.raises(UserError) as caught:
        MBConv(space, (8,))
    assert "space=nano_cnn" in str(caught.value.hint)


def test_a_space_has_the_name_it_is_given():
    assert mbconv_space("small").format(mbconv_space("small").smallest()).startswith("small:r=")


def test_unusable_choices_are_refused():
    with pytest.raises(UserError, match="kernels must be odd"):
        mbconv_space(kernels=(2, 4))
    with pytest.raises(UserError, match="resolutions must be in"):
        mbconv_space(resolutions=(0.5, 2.0))
    with pytest.raises(UserError, match="stages"):
        mbconv_space(depths=((1, 2),))
    with pytest.raises(UserError, match="expand must hold numbers from 1"):
        mbconv_space(expand=(0.5, 2))
    with pytest.raises(UserError, match="levels"):
        MBConv(mbconv_space(), (8, 8))


@pytest.mark.parametrize("task", ["synthetic", "camvid", "masks", "normals"])
def test_a_network_brings_its_space_and_its_curriculum(task):
    config = _composed(f"+task={task}", "network=nano_cnn")
    assert config.space.name == "nano_cnn"
    family, opened = build(config.network), config.sampler.steps[0].opened
    assert family.space.smallest(dict(opened)) == family.space.largest()


def test_a_typed_sampler_and_the_one_of_a_task_win():
    assert (
        _composed("+task=synthetic", "network=nano_cnn", "sampler=uniform").sampler.steps[0].name == "uniform"
    )
    assert _composed("+task=image_classification", "network=nano_cnn").sampler.steps[0].name == "sandwich"
    assert _composed("+task=nyu").sampler == _composed("sampler=pst").sampler
