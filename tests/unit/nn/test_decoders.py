"""The published decoder as a head: sizes, refusals, learning, reduced precision and ONNX."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from evonas import files, weights
from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.nn.sasf import fuse
from evonas.nn.topdown import SASFDecoder
from evonas.stages.networks import exported
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import static_net
from evonas.supernets.supernet import Supernet, extract

SMALL = (Level(8, 4), Level(16, 8), Level(32, 16), Level(64, 32))
UNEVEN = (Level(8, 4), Level(12, 8), Level(20, 16))


def _maps(levels, height=64, width=96, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, level.channels, height // level.stride, width // level.stride, generator=generator)
        for level in levels
    ]


def test_parameters_are_those_of_the_published_decoder():
    levels = [Level(64, 4), Level(128, 8), Level(256, 16), Level(512, 32)]
    decoder = SASFDecoder(levels, 1, output="sigmoid", scale=80.0)
    sizes = {name: sum(each.numel() for each in part.parameters()) for name, part in decoder.named_children()}
    assert sizes["pools"] == 2_202_112 and sizes["predict"] == 577
    leaves = [sum(each.numel() for each in leave.parameters()) for leave in decoder.leaves]
    assert leaves == [36_928, 295_168, 1_180_160, 4_719_616]
    assert sum(sizes.values()) == 13_508_173


@pytest.mark.parametrize("levels", [SMALL, SMALL[:1], UNEVEN])
def test_output_has_the_size_of_the_input(levels):
    assert SASFDecoder(levels, out_channels=11)(_maps(levels)).shape == (2, 11, 64, 96)


def test_sigmoid_is_bounded_by_scale():
    output = SASFDecoder(SMALL, 1, output="sigmoid", scale=20.0)([1e3 * each for each in _maps(SMALL)])
    assert output.min() >= 0 and output.max() <= 20 and output.max() > 12


def test_every_level_and_parameter_matters():
    decoder = SASFDecoder(SMALL, 1)
    maps = [features.requires_grad_() for features in _maps(SMALL)]
    decoder(maps).square().sum().backward()
    assert all(features.grad.abs().sum() > 0 for features in maps)
    assert [name for name, each in decoder.named_parameters() if not each.grad.abs().sum() > 0] == []


def test_sides_that_do_not_divide_are_refused_by_name():
    maps = [torch.zeros(1, level.channels, -(-100 // level.stride), 3) for level in SMALL]
    with pytest.raises(
        UserError, match=r"SASFDecoder needs images .* multiples of 32, got maps of 25x3, 13x3"
    ):
        SASFDecoder(SMALL, 1)(maps)


@pytest.mark.parametrize(
    "levels, said",
    [
        ((Level(8, 4), Level(16, 16)), "double in stride"),
        ((Level(8, 4), Level(18, 8)), "divide by 4, not 18"),
    ],
)
def test_levels_that_it_cannot_decode_are_refused(levels, said):
    with pytest.raises(UserError, match=said):
        SASFDecoder(levels, 1)


def test_unknown_output_is_refused():
    with pytest.raises(UserError, match="output=tanh"):
        SASFDecoder(SMALL, 1, output="tanh")


def test_weights_are_a_function_of_the_seed():
    states = [SASFDecoder(SMALL, 1, seed=seed).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["predict.weight"], states[2]["predict.weight"])


def test_two_runs_give_the_same_bits():
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            decoder = SASFDecoder(SMALL, 1)
            decoder(_maps(SMALL)).square().mean().backward()
            gradients.append([parameter.grad for parameter in decoder.parameters()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_learns(precision):
    decoder, maps = SASFDecoder(SMALL, 1, output="sigmoid", scale=10.0).train(), _maps(SMALL)
    target = 2 + maps[0][:, :1].repeat_interleave(4, 2).repeat_interleave(4, 3).abs()
    optimizer, losses = torch.optim.AdamW(decoder.parameters(), lr=3e-3), []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            output = decoder(maps)
        loss = (output.float() - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_fused_as_a_whole():
    decoder = SASFDecoder(SMALL, 1).double()
    maps = [features.double() for features in _maps(SMALL)]
    decoder(maps)
    with torch.no_grad():
        assert_close(fuse(decoder)(maps), decoder.eval()(maps), rtol=1e-10, atol=1e-10)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    space = evonet_space(expand=[0.5, 1], d_state=[4, 8], mlp_ratio=[0.5, 1], depths=[1, 1, 2, 1])
    family = EvoNet(space, (8, 16, 32, 64), (2, 4, 2, 4), stem_dim=8)
    head = SASFDecoder(family.levels, 1, output="sigmoid", scale=20.0)
    generator = torch.Generator().manual_seed(2)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return Supernet(family, head).eval()


def test_an_extracted_network_keeps_the_bits(supernet):
    genotype, x = supernet.space.smallest(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(extract(supernet, genotype)(x), supernet(x, genotype))


def test_an_exported_folder_gives_the_network_back(tmp_path, supernet):
    net, x = extract(supernet, supernet.space.smallest()), torch.randn(1, 3, 64, 96)
    digest = weights.save(tmp_path / exported.MODEL, net.state_dict(), {})
    config = {**exported.describe(net), "format": exported.FORMAT, "sha256": digest}
    files.write_json(tmp_path / exported.CONFIG, config)
    with torch.no_grad():
        assert torch.equal(exported.load_exported(tmp_path)(x), net(x))


def _onnx_difference(net, inputs, folder) -> float:
    """The largest difference of the ONNX form from torch, also for a batch it was not exported with."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path, batch = folder / "net.onnx", torch.export.Dim("batch", min=1)
    sizes = [{0: batch} for _ in inputs]
    shapes = (sizes,) if isinstance(net, SASFDecoder) else tuple(sizes)
    call = (inputs,) if isinstance(net, SASFDecoder) else tuple(inputs)
    with torch.no_grad():
        torch.onnx.export(net, call, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        first = [each[:1] for each in inputs]
        names = [each.name for each in session.get_inputs()]
        (output,) = session.run(None, {n: each.numpy() for n, each in zip(names, first, strict=True)})
        expected = net(first) if isinstance(net, SASFDecoder) else net(*first)
    return float(np.abs(output - expected.numpy()).max())


@pytest.mark.slow
def test_exports_and_agrees(tmp_path):
    # the exporter takes time for every operation: each grid and each doubling of the scan has its own
    levels = (Level(8, 4), Level(16, 8))
    decoder = SASFDecoder(levels, 1, pool_sizes=(3,), output="sigmoid", scale=20.0).eval()
    assert _onnx_difference(decoder, _maps(levels, 16, 24), tmp_path) <= 1e-4


@pytest.mark.slow
def test_a_whole_network_exports_and_agrees(tmp_path, supernet):
    net = static_net(supernet.family, supernet.head, supernet.space.largest()).eval()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert _onnx_difference(net, [images], tmp_path) <= 1e-4
