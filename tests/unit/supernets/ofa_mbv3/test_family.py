"""What is Once-for-All's own: kernels made by matrices, its space, image sizes, head and configs."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from evonas import schema
from evonas.errors import UserError
from evonas.nn.count import count_costs
from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.space.declared import declared_space
from evonas.stages.build.setup import Setup
from evonas.supernets.base import classifier_cost, cost
from evonas.supernets.input_size import input_size
from evonas.supernets.ofa_mbv3.backbone import smaller_kernel
from evonas.supernets.ofa_mbv3.cost import rounded
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.static_net import static_net
from evonas.supernets.supernet import Supernet, extract

CONF = Path(__file__).resolve().parents[4] / "conf"
SMALL = ((1, 2),) * 5


def _small(resolutions: tuple[float, ...] = (32, 48), act_func: str | None = None) -> OFAMobileNetV3:
    return OFAMobileNetV3(ofa_space("small", SMALL, (3, 5, 7), (1, 3), resolutions), 0.25, act_func)


def _matrices(*sides: int) -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    return [torch.randn(side**2, side**2, generator=source) for side in sides]


def test_smaller_kernels_are_centres_times_matrices() -> None:
    weight = torch.randn(4, 1, 7, 7, generator=torch.Generator().manual_seed(1))
    matrices = _matrices(5, 3)
    found = smaller_kernel(weight, *matrices)
    for channel in range(4):
        kernel = weight[channel, 0].tolist()
        for matrix in matrices:
            side = len(kernel) - 2
            centre = [kernel[row][column] for row in range(1, side + 1) for column in range(1, side + 1)]
            made = [sum(m * x for m, x in zip(row, centre, strict=True)) for row in matrix.tolist()]
            kernel = [made[side * row : side * (row + 1)] for row in range(side)]
        assert torch.allclose(found[channel, 0], torch.tensor(kernel), rtol=1e-4, atol=1e-4)


def test_identities_make_centres() -> None:
    family = _small()
    shared, genotype = Supernet(family, MobileNetV3Head(family.levels, 3)), family.space.smallest()
    name = "backbone.blocks.1.conv.depth_conv.conv.conv.weight"
    own, whole = (dict(net.named_parameters())[name] for net in (extract(shared, genotype), shared))
    assert torch.equal(own, whole[: len(own), :, 2:-2, 2:-2])


def test_an_extracted_network_has_its_kernel_and_no_matrices() -> None:
    family = _small()
    net = Supernet(family, MobileNetV3Head(family.levels, 3))
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if name.endswith("_matrix"):
                tensor.normal_(generator=torch.Generator().manual_seed(2))
    middle = family.space.encode(
        {**family.space.decode(family.space.largest()), **{f"k{at}": 5 for at in range(1, 11)}}
    )
    alone = extract(net, middle)
    assert not any("matrix" in name for name, _ in alone.named_parameters())
    shared, kernel = dict(net.named_parameters()), "backbone.blocks.3.conv.depth_conv.conv"
    wanted = smaller_kernel(shared[f"{kernel}.conv.weight"], shared[f"{kernel}.7to5_matrix"])
    assert torch.equal(alone.state_dict()[f"{kernel}.conv.weight"], wanted)


def test_gradients_reach_kernels_and_matrices() -> None:
    family = _small()
    net = Supernet(family, MobileNetV3Head(family.levels, 3)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    net(
        images, family.space.encode({**family.space.decode(family.space.smallest()), "k1": 5})
    ).square().sum().backward()
    kernel = "backbone.blocks.{}.conv.depth_conv.conv"
    found = {name: each.grad for name, each in net.named_parameters()}
    for number, name in ((1, "7to5_matrix"), (3, "7to5_matrix"), (3, "5to3_matrix"), (3, "conv.weight")):
        gradient = found[f"{kernel.format(number)}.{name}"]
        assert gradient is not None and gradient.abs().sum() > 0
    assert found[f"{kernel.format(1)}.5to3_matrix"] is None
    assert found[f"{kernel.format(2)}.7to5_matrix"] is None
    outer = found[f"{kernel.format(3)}.conv.weight"]
    assert (
        outer is not None and not outer[:, :, [0, 1, 5, 6]].any() and not outer[:, :, :, [0, 1, 5, 6]].any()
    )


def test_bf16_training_makes_kernels_in_full_precision() -> None:
    family = _small()
    net = Supernet(family, MobileNetV3Head(family.levels, 3))
    with torch.autocast("cpu", torch.bfloat16):
        kernels = [
            tensor
            for name, tensor in net.subnet(family.space.smallest()).named_parameters()
            if name.endswith("depth_conv.conv.conv.weight")
        ]
        assert len(kernels) == 5 and all(each.dtype == torch.float32 for each in kernels)


def test_the_whole_network_costs_what_is_counted() -> None:
    family = _small(act_func="mish")
    head = MobileNetV3Head(family.levels, 7, act_func="mish")
    for genotype in (family.space.smallest(), family.space.largest()):
        total = cost(family, genotype, (64, 64)) + classifier_cost(family, genotype, (64, 64), 7)
        counted = count_costs(static_net(family, head, genotype), (64, 64))
        assert {"params": total.params, "macs": total.macs} == counted


def test_channels_are_rounded_to_multiples_of_8() -> None:
    assert [rounded(each) for each in (1, 11, 12, 19.2, 28.8, 134.4, 10)] == [8, 16, 16, 24, 32, 136, 16]


@pytest.mark.parametrize(
    ("resolution", "size", "own"),
    [
        (192, (224, 224), (192, 192)),
        (256, (224, 224), (256, 256)),
        (128, (256, 512), (128, 256)),
        (1.0, (33, 47), (33, 47)),
        (0.5, (352, 1216), (176, 608)),
        (0.5, (40, 20), (32, 20)),
    ],
)
def test_image_sizes(resolution: float, size: tuple[int, int], own: tuple[int, int]) -> None:
    assert input_size(resolution, size) == own


def test_genes_have_the_order_of_nsganet() -> None:
    names = [gene.name for gene in ofa_space().genes]
    assert len(names) == 46
    assert names[:10] == ["d1", "k1", "k2", "k3", "k4", "e1", "e2", "e3", "e4", "d2"] and names[-1] == "r1"
    assert ofa_space().size() == 33 * (9**2 + 9**3 + 9**4) ** 5


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"depths": SMALL[:3]}, "3 stages"),
        ({"depths": ((0, 1), *SMALL[1:])}, r"space\.depths"),
        ({"kernels": (3, 7)}, r"space\.kernels"),
        ({"kernels": (5, 7)}, r"space\.kernels"),
        ({"expand": ()}, r"space\.expand"),
        ({"resolutions": (0.5, 128)}, r"space\.resolutions"),
        ({"resolutions": (8,)}, r"space\.resolutions"),
        ({"resolutions": ()}, r"space\.resolutions"),
    ],
)
def test_wrong_choices_are_refused(wrong: dict, what: str) -> None:
    with pytest.raises(UserError, match=what):
        ofa_space(**wrong)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [({"width": 0}, "width"), ({"width": float("nan")}, "width"), ({"act_func": "gelu"}, "act_func=gelu")],
)
def test_wrong_arguments_are_refused(wrong: dict, what: str) -> None:
    with pytest.raises(UserError, match=what):
        OFAMobileNetV3(ofa_space(), **wrong)


def test_other_spaces_are_refused() -> None:
    space = declared_space("other", {"k1": [3, 5]}, {"d1": 2})
    with pytest.raises(UserError, match="Space other is not one of"):
        OFAMobileNetV3(space)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["network=ofa_mbv3"], "ofa_mbv3"),
        (["network=ofa_mbv3", "space=ofa_mbv3_dense"], "ofa_mbv3_dense"),
        (["network=ofa_nano"], "ofa_nano"),
    ],
)
def test_configs_build_network_and_curriculum(words: list[str], name: str) -> None:
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=words)
    family = Setup(cfg).family
    assert family.space.name == name
    for step in cfg.sampler.steps:
        family.space.narrowed(dict(step.opened))
    assert cfg.sampler.steps[-1].opened == {}
