"""Networks of TransNAS-Bench-101 macro: which words are one, what they compute, and what they start from."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.config import build
from evonas.errors import UserError
from evonas.nn.cells.decoders import generation_decoder, segmentation_decoder
from evonas.nn.cells.transnas import OUTPUTS, TransNASNet, words_of_name
from evonas.nn.cells.transnas_macro import MODULES, MacroBlock, modules_of
from evonas.space.chain import ChainSpace

pytestmark = pytest.mark.usefixtures("one_thread")


def words(digits: str) -> list[str]:
    return [MODULES[int(digit) - 1] for digit in digits]


def is_network(digits: str) -> bool:
    try:
        return modules_of(words(digits)) == tuple(words(digits))
    except UserError:
        return False


def test_the_networks_are_the_points_of_the_space() -> None:
    module = list(MODULES)
    axes = {f"m{place}": module if place < 5 else ["none", *module] for place in range(1, 7)}
    limits = {
        "halvings": {"words": ["resolution", "both"], "least": 1, "most": 4},
        "doublings": {"words": ["channel", "both"], "least": 1, "most": 3},
    }
    target = "evonas.space.chain.chain_space"
    space: ChainSpace = build(
        {"_target_": target, "name": "t", "axes": axes, "absent": "none", "limits": limits}
    )
    points = {modules_of(tuple(map(str, space.decode(point).values()))) for point in space.points()}
    every = ["".join(each) for length in range(3, 8) for each in product("1234", repeat=length)]
    assert points == {tuple(words(digits)) for digits in every if is_network(digits)}
    assert len(points) == 3256


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (words("1111"), "it has 0 halvings"),
        (words("1333"), "it has 0 doublings"),
        (words("333332"), "it has 5 halvings"),
        (words("222243"), "it has 5 doublings"),
        (words("142"), "it has 3 modules"),
        (words("1421111"), "it has 7 modules"),
        ([*words("142"), "none", "none", "none"], "it has 3 modules"),
        ([*words("142"), "conv3x3"], "the module conv3x3 is unknown"),
    ],
)
def test_what_is_not_a_network_is_refused(given: list[str], fault: str) -> None:
    with pytest.raises(UserError, match=f"is not a network of TransNAS-Bench-101 macro: {fault}") as caught:
        TransNASNet(given)
    assert "4 to 6 modules" in caught.value.hint and "1 to 4 halvings (resolution, both)" in caught.value.hint


def test_networks_have_the_names_of_the_benchmark() -> None:
    assert list(words_of_name("64-1242-basic")) == words("1242")
    assert words_of_name("64-41414-0_12_321") == ("none", "skip", "conv1x1", "conv3x3", "conv1x1", "skip")
    named, spelled = (TransNASNet(each, "jigsaw", 2) for each in ("64-1141-basic", words("1141")))
    assert all(torch.equal(a, b) for a, b in zip(named.parameters(), spelled.parameters(), strict=True))
    for name in ("1242", "64-124-basic", "64-1242512-basic", "64-41414-4_12_321", "64-1250-basic", ""):
        with pytest.raises(UserError, match="is not the name of a network of TransNAS-Bench-101"):
            TransNASNet(name)


def test_absent_modules_change_nothing() -> None:
    short, padded = (
        TransNASNet(each, "room_layout", 5) for each in (words("1141"), [*words("1141"), "none"])
    )
    assert all(torch.equal(a, b) for a, b in zip(short.parameters(), padded.parameters(), strict=True))


@pytest.mark.parametrize(("digits", "stride"), [("1141", 8), ("43331", 64)])
@pytest.mark.parametrize("task", OUTPUTS)
def test_each_task_has_its_output(digits: str, stride: int, task: str) -> None:
    net = TransNASNet(words(digits), task, None).to("meta")
    tiles = (9,) if task == "jigsaw" else ()
    found = net(torch.empty(2, *tiles, 3, 64, 128, device="meta"))
    is_dense = task in ("segmentsemantic", "normal", "autoencoder")
    assert net.stride == stride and found.shape == (2, OUTPUTS[task], *([64, 128] if is_dense else []))


@pytest.mark.parametrize(
    ("task", "shape", "said"),
    [
        ("jigsaw", (2, 3, 32, 32), "needs batches of nine tiles, got the shape (2, 3, 32, 32)"),
        ("jigsaw", (2, 4, 3, 32, 32), "needs batches of nine tiles, got the shape (2, 4, 3, 32, 32)"),
        ("normal", (2, 9, 3, 32, 32), "needs whole images, got the shape (2, 9, 3, 32, 32)"),
        ("normal", (2, 1, 32, 32), "needs whole images, got the shape (2, 1, 32, 32)"),
    ],
)
@pytest.mark.parametrize("given", [words("1141"), ["conv1x1"] * 6])
def test_images_of_another_shape_are_refused(
    given: list[str], task: str, shape: tuple[int, ...], said: str
) -> None:
    net = TransNASNet(given, task, None).to("meta")
    with pytest.raises(UserError) as caught:
        net(torch.empty(*shape, device="meta"))
    assert said in str(caught.value)
    assert caught.value.hint == f"Give (B, {'9, ' if task == 'jigsaw' else ''}3, H, W)."


def test_a_block_adds_its_branch_to_its_shortcut() -> None:
    block = MacroBlock(4, 6, 2)
    for each in block.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight)
            nn.init.uniform_(each.bias)
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))

    def normed(y: Tensor, norm: nn.Module) -> Tensor:
        assert isinstance(norm, nn.BatchNorm2d) and (norm.eps, norm.momentum) == (1e-5, 0.1)
        return F.batch_norm(y, None, None, norm.weight, norm.bias, True, eps=1e-5)

    def conv(y: Tensor, layer: nn.Module, stride: int) -> Tensor:
        assert isinstance(layer, nn.Conv2d) and layer.bias is None
        return F.conv2d(y, layer.weight, None, stride, layer.kernel_size[0] // 2)

    _, first, norm, _, second, last = block.branch
    branch = normed(conv(normed(conv(x.relu(), first, 2), norm).relu(), second, 1), last)
    # the shortcut has no ReLU before it, and nothing comes behind the sum
    layer, projected = block.shortcut
    expected = branch + normed(conv(x, layer, 2), projected)
    assert torch.allclose(block(x), expected, atol=1e-6) and block(x).min() < 0
    same = MacroBlock(4, 4)
    assert isinstance(same.shortcut, nn.Identity) and same(x).shape == x.shape


def test_a_module_changes_the_size_in_its_first_block() -> None:
    net = TransNASNet(words("1234"), "room_layout", None).to("meta")
    x = net.stem(torch.empty(1, 3, 64, 64, device="meta"))
    assert x.shape == (1, 64, 16, 16)
    shapes = []
    for module in net.cells:
        for block in module:
            x = block(x)
            shapes.append(tuple(x.shape[1:3]))
    assert shapes == [(64, 16)] * 2 + [(128, 16)] * 2 + [(128, 8)] * 2 + [(256, 4)] * 2


def test_encoders_start_with_normal_weights_of_the_fan_out() -> None:
    net = TransNASNet(words("1141"), "segmentsemantic", 3)
    for layer in (net.stem[3], net.cells[0][0].branch[1], net.cells[2][0].shortcut[0]):
        expected = math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] ** 2))
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert layer.weight.abs().max() > 3 * expected, "normal weights have tails"
    again = TransNASNet(words("1141"), "segmentsemantic", 3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("doublings", [3, 4, 5, 6])
def test_decoders_reach_the_resolution_with_equal_parameters(doublings: int) -> None:
    with torch.device("meta"):
        x = torch.empty(1, 128, 2, 4)
        for decoder, channels in ((segmentation_decoder, 17), (generation_decoder, 3)):
            made, usual = decoder(128, channels, doublings), decoder(128, channels)
            assert made(x).shape == (1, channels, 2 * 2**doublings, 4 * 2**doublings)
            assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in usual.parameters())


@pytest.mark.parametrize("doublings", [2, 7])
def test_other_resolutions_have_no_decoder(doublings: int) -> None:
    for decoder in (segmentation_decoder, generation_decoder):
        with pytest.raises(UserError, match=f"doublings={doublings} is not 3 to 6"):
            decoder(128, 3, doublings)


def test_decoders_upsample_where_the_benchmark_does() -> None:
    def widths(decoder: nn.Sequential) -> list[int]:
        return [layer.out_channels for layer in decoder if isinstance(layer, nn.ConvTranspose2d)]

    with torch.device("meta"):
        segmenting = {up: widths(segmentation_decoder(128, 17, up)) for up in (3, 4, 5, 6)}
        generating = {up: widths(generation_decoder(128, 3, up)) for up in (3, 4, 5, 6)}
    assert segmenting == {
        3: [64, 32, 32],
        4: [128, 64, 32, 32],
        5: [256, 128, 64, 32, 32],
        6: [512, 256, 128, 64, 32, 32],
    }
    assert generating == {
        3: [32, 16, 16],
        4: [64, 32, 16, 16],
        5: [256, 64, 32, 16, 16],
        6: [512, 256, 64, 32, 16, 16],
    }
