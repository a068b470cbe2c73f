"""What is ElasticViT's own: joint norms, queries, keys and values, tables of positions, its space, head and configs."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from evonas import schema
from evonas.errors import UserError
from evonas.nn.count import count_costs
from evonas.nn.expanded_classifier import ExpandedClassifier
from evonas.space.declared import declared_space
from evonas.stages.build.setup import Setup
from evonas.supernets.base import classifier_cost, cost, published
from evonas.supernets.cost_table import CostTable
from evonas.supernets.elasticvit.backbone import Attention, JointNorm, MobileBlock
from evonas.supernets.elasticvit.cost import BlockShape, LayerShape
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.space import vit_space
from evonas.supernets.slices import bind
from evonas.supernets.static_net import static_net
from evonas.supernets.supernet import Supernet, extract

CONF = Path(__file__).resolve().parents[4] / "conf"
WIDTHS = ((8, 16), (8, 16), (16, 24), (16, 32), (32, 48), (32, 48), (32, 48))
DEPTHS = ((1, 2),) * 7


def _small(resolutions: tuple[float, ...] = (64, 96), **settings: bool) -> ElasticViT:
    space = vit_space("small", WIDTHS, DEPTHS, (3, 5), (1, 3), (1, 2), (1, 2), resolutions, **settings)
    return ElasticViT(space, bias_side=96)


def _supernet(family: ElasticViT, classes: int = 3) -> Supernet:
    net = Supernet(family, ExpandedClassifier(family.levels, classes, mix=32))
    source = torch.Generator().manual_seed(3)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and (name.endswith("bias") or "bn." in name or "norm" in name):
            tensor.uniform_(0.5, 1.5, generator=source)
    return net


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_norm_averages_over_tokens_and_channels_together() -> None:
    norm, x = JointNorm(3), _randn(2, 4, 3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
        found = norm(x)
    for image in range(2):
        values = [float(value) for value in x[image].flatten()]
        mean = sum(values) / 12
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 12 + 1e-5)
        for token in range(4):
            for channel in range(3):
                wanted = (float(x[image, token, channel]) - mean) / deviation
                wanted = wanted * float(norm.weight[channel].detach()) + float(norm.bias[channel].detach())
                assert float(found[image, token, channel].detach()) == pytest.approx(wanted, abs=1e-5)


def test_attention_reads_rows_of_queries_keys_and_values_head_by_head() -> None:
    """Against a loop over heads and tokens of a 2x2 map, for a subnet of a stage with more channels."""
    family = _small((96, 256))
    net = _supernet(family).eval()
    values = {**family.space.decode(family.space.smallest()), "w4": 32, "w5": 32, "v2": 2, "d5": 2}
    genotype = family.space.encode(values)
    layer = bind(family, net.backbone, genotype).get_submodule("feature_exactor.3.layers.2")
    stored = net.backbone.get_submodule("feature_exactor.3.layers.2")
    x, (most, c, v, heads) = _randn(1, 32, 2, 2), (48, 32, 64, 2)
    with torch.no_grad():
        found = layer(x)
        tokens = [[float(value) for value in x[0, :, row, col]] for row in (0, 1) for col in (0, 1)]
        weight = stored.qkv.weight[:, :c]
        rows = torch.cat([weight[:c], weight[most : most + c], weight[2 * most : 2 * most + v]])
        normal = JointNorm.forward(layer.norm1, torch.tensor(tokens)[None])[0]
        products = normal @ rows.T
        table, side = stored.attention_bias, family.shape.table(4)
        answers = torch.zeros(4, v)
        parts = products.view(4, heads, 16 + 16 + v // heads)
        convolved = torch.nn.functional.conv2d(
            parts[:, :, 32:].reshape(2, 2, v).permute(2, 0, 1)[None], stored.dw_v_conv.weight[:v], padding=1, groups=v
        )[0].permute(1, 2, 0)  # fmt: skip
        for head in range(heads):
            for token in range(4):
                logits = []
                for other in range(4):
                    product = sum(
                        float(parts[token, head, at] * parts[other, head, 16 + at]) for at in range(16)
                    )
                    down, right = token // 2 - other // 2, token % 2 - other % 2
                    row = (down + side - 1) * (2 * side - 1) + right + side - 1
                    logits.append(product / 4 + float(table[row, head]))
                shares = torch.tensor(logits).softmax(0)
                width = v // heads
                for other in range(4):
                    part = convolved[other // 2, other % 2, head * width : (head + 1) * width]
                    answers[token, head * width : (head + 1) * width] += shares[other] * part
        active = answers * (answers + 3).clamp(0, 6) / 6
        wanted = torch.tensor(tokens) + active @ stored.proj.weight[:c, :v].T + stored.proj.bias[:c]
    assert torch.allclose(found[0].permute(1, 2, 0).reshape(4, c), wanted, atol=1e-4)


def test_small_maps_use_the_rows_of_the_published_table() -> None:
    layer = Attention(LayerShape(32, 32, 32, 16), None)
    with torch.no_grad():
        layer.draw_weights(torch.Generator().manual_seed(0))
        layer.attention_bias.copy_(torch.arange(961.0)[:, None].expand(-1, 2))
        found = layer.bias(8, 8)
    assert found.shape == (2, 64, 64)
    index = layer.relative_position_index.view(16, 16, 16, 16)
    for one, other in ((0, 0), (0, 63), (9, 20), (63, 7)):
        (top, left), (low, right) = divmod(one, 8), divmod(other, 8)
        assert found[0, one, other] == float(index[top, left, low, right])
    assert float(found[0, 0, 0]) == 15 * 31 + 15


def test_tokens_beyond_the_table_are_as_far_as_it_reaches() -> None:
    layer = Attention(LayerShape(16, 16, 16, 3), None)
    with torch.no_grad():
        layer.draw_weights(torch.Generator().manual_seed(0))
        layer.attention_bias.copy_(torch.arange(25.0)[:, None])
        found = layer.bias(5, 2).view(5, 2, 5, 2)
    for top in range(5):
        for low in range(5):
            apart = min(max(top - low, -2), 2)
            assert found[top, 0, low, 0] == (apart + 2) * 5 + 2
            assert found[top, 1, low, 0] == (apart + 2) * 5 + 3


def test_the_shortcut_of_a_halving_block_is_the_mean_of_four_pixels() -> None:
    block = MobileBlock(BlockShape(4, 8, 4, 0, 3, 2), (1e-5, 0.1)).eval()
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            parameter.fill_(0.0 if name.startswith("pwl") else 1.0)
        even, odd = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 4, 4, 4), torch.ones(1, 4, 3, 4)
        assert block(even)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
        # a border of zeros above and below
        assert block(odd)[0, 0].tolist() == [[0.5, 0.5], [1.0, 1.0]]


def test_small_kernels_are_centres_of_the_first_channels() -> None:
    family = _small()
    net, genotype = _supernet(family), family.space.smallest()
    name = "backbone.feature_exactor.0.layers.0.0.dw_conv.weight"
    own, whole = (dict(each.named_parameters())[name] for each in (extract(net, genotype), net))
    assert own.shape == (8, 1, 3, 3) and torch.equal(own, whole[:8, :, 1:4, 1:4])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_extracted_networks_answer_the_same_at_odd_sides(training: bool, per_layer: bool) -> None:
    family = _small((160, 176), per_layer=per_layer)
    net, rng = _supernet(family).train(training), np.random.default_rng(0)
    for genotype in (family.space.smallest(), family.space.largest(), family.space.sample(rng)):
        alone = extract(net, genotype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            inside = net(_randn(2, 3, 224, 224), genotype)
            torch.manual_seed(0)
            assert (inside - alone(_randn(2, 3, 224, 224))).abs().max() == 0


@pytest.mark.parametrize("per_layer", [False, True])
def test_the_whole_network_costs_what_is_counted(per_layer: bool) -> None:
    family, size = _small((64, 96), per_layer=per_layer), (80, 64)
    head, rng = ExpandedClassifier(family.levels, 7), np.random.default_rng(1)
    for genotype in (family.space.smallest(), family.space.largest(), family.space.sample(rng)):
        total = cost(family, genotype, size) + classifier_cost(family, genotype, size, 7)
        net = static_net(family, head, genotype)
        assert {"params": total.params, "macs": total.macs} == count_costs(net, size)


def test_gradients_of_a_narrow_head_reach_its_channels_alone() -> None:
    family = _small()
    net, genotype = _supernet(family), family.space.smallest()
    net(_randn(2, 3, 64, 64), genotype).square().sum().backward()
    gradient = net.head.pre_head_0.weight.grad
    assert gradient is not None and gradient[: 6 * 32, :32].abs().sum() > 0
    assert not gradient[6 * 32 :].any() and not gradient[:, 32:].any()


def test_channels_do_not_decrease() -> None:
    space = vit_space()
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = space.decode(space.sample(rng))
        widths = [values[f"w{stage}"] for stage in range(1, 8)]
        assert all(one <= other for one, other in pairwise(widths))
    # an integer layout with a narrower stage is the network with the nearest one
    vector = space.to_vector(space.smallest())
    vector[space.spans["w6"].start] = 9
    assert space.decode(space.from_vector(vector))["w7"] == 288
    text = "elasticvit:r=128/w=24,16,16,48,80,144,160/d=1,2,2,1,1,1,1/e=3,3/k=3,3,3/m=2,2,2,2/v=2,2,2,2"
    with pytest.raises(UserError, match="w2=16 is narrower than w1=24"):
        space.parse(text)


def test_size_of_a_space_is_its_number_of_points() -> None:
    one = (1,)
    widths = ((8, 16), (8, 16, 24), (16, 24), (16, 32), (32,), (32, 48), (32, 48, 64))
    for per_layer in (False, True):
        depths = (one, one, (1, 2), one, (1, 2), one, one)
        space = vit_space("few", widths, depths, (3,), (1,), (1, 2), (2,), (64,), per_layer)
        assert space.size() == sum(1 for _ in space.points()) > 100


def test_samples_are_uniform_over_rising_channels() -> None:
    one = (1,)
    widths = ((8, 16), (8, 16), (16,), (16,), (16,), (16,), (16,))
    space = vit_space("two", widths, (one,) * 7, (3,), (1,), (1,), (1,), (64,))
    rng = np.random.default_rng(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        genes = space.sample(rng).genes
        counts[genes] = counts.get(genes, 0) + 1
    assert len(counts) == 3 and all(900 < count < 1100 for count in counts.values())


def test_cost_tables_read_narrower_stages_as_the_space_does() -> None:
    family = _small()
    rows = np.random.default_rng(2).integers(family.space.cardinalities, size=(100, len(family.space.upper)))
    wanted = [cost(family, family.space.from_vector(row), (96, 96)).macs for row in rows]
    assert CostTable(family, (96, 96)).macs(rows).tolist() == wanted


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"widths": WIDTHS[:3]}, r"space\.widths has 3 stages"),
        ({"depths": DEPTHS[:6]}, r"space\.depths has 6 stages"),
        ({"depths": ((0, 1), *DEPTHS[1:])}, r"space\.depths must hold whole numbers"),
        ({"widths": (*WIDTHS[:6], (32, 40))}, "40 channels, no multiple of 16"),
        ({"widths": (*WIDTHS[:6], (16, 32))}, "decrease"),
        ({"kernels": (3, 7)}, r"space\.kernels"),
        ({"kernels": (5,)}, r"space\.kernels"),
        ({"expand": (1.5,)}, r"space\.expand must hold whole numbers"),
        ({"mlp": ()}, r"space\.mlp"),
        ({"value": (0, 1)}, r"space\.value"),
        ({"resolutions": (0.5, 128)}, r"space\.resolutions"),
        ({"resolutions": (16,)}, r"space\.resolutions"),
    ],
)
def test_wrong_choices_are_refused(wrong: dict, what: str) -> None:
    with pytest.raises(UserError, match=what):
        vit_space(**wrong)


@pytest.mark.parametrize("side", [0, 63, 256.5, True])
def test_wrong_sides_of_tables_are_refused(side: object) -> None:
    with pytest.raises(UserError, match="bias_side"):
        ElasticViT(vit_space(), bias_side=side)  # type: ignore[arg-type]


def test_other_spaces_are_refused() -> None:
    with pytest.raises(UserError, match="Space other is not one of ElasticViT"):
        ElasticViT(declared_space("other", {"k1": [3, 5]}, {"d1": 2}))


def test_spaces_without_the_published_networks_list_none() -> None:
    assert published(_small()) == {}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["network=elasticvit"], "elasticvit"),
        (["network=elasticvit", "space=elasticvit_dense"], "elasticvit_dense"),
        (["network=elasticvit", "space=elasticvit_layers"], "elasticvit_layers"),
        (["network=elasticvit_nano"], "elasticvit_nano"),
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
