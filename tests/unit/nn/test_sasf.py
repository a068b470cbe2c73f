"""The SASF block and strip pooling: sizes, equations, fusing, and what must follow an update."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from evonas.nn.initialise import initialise
from evonas.nn.sasf import SASF, FusedStates, ScanMixer, StateFusion, fuse
from evonas.nn.strip_pooling import StripPooling


def _block(dim=16, seed=0, dtype=torch.float32):
    block = SASF(dim)
    initialise(block, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # away from the start, where states are small and all taps alike, so that mistakes could hide
        for name, parameter in block.mixer.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.5, generator=generator)
    return block.to(dtype)


def _map(*shape, dtype=torch.float32, seed=1):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dim, count", [(512, 3_795_459), (256, 963_843), (128, 248_451), (64, 65_859)])
def test_parameters_are_those_of_the_published_block(dim, count):
    assert sum(parameter.numel() for parameter in SASF(dim).parameters()) == count


def test_the_mixer_follows_its_equations_token_by_token():
    mixer, u = _block(16, dtype=torch.float64).mixer, _map(1, 3, 4, 16, dtype=torch.float64)
    x = (u @ mixer.value_proj.weight.T).permute(0, 3, 1, 2)
    x = F.silu(F.conv2d(x, mixer.conv.weight, mixer.conv.bias, padding=1, groups=32)).permute(0, 2, 3, 1)
    rows = x.reshape(12, 32) @ mixer.scan_proj.weight.T
    dt = F.softplus(rows[:, :1] @ mixer.dt_weight.T + mixer.dt_bias)
    state, states = torch.zeros(32, dtype=torch.float64), []
    for token in range(12):
        decay = torch.exp(dt[token] * -torch.exp(mixer.A_log))
        state = decay * state + dt[token] * rows[token, 1] * x.reshape(12, 32)[token]
        states.append(state)
    image = torch.stack(states).T.reshape(1, 32, 3, 4)
    fused = sum(
        alpha
        * F.conv2d(F.pad(image, (d, d, d, d), mode="replicate"), kernel.unsqueeze(1), dilation=d, groups=32)
        for d, kernel, alpha in zip((1, 3, 5), mixer.fusion.kernels, mixer.fusion.alpha, strict=True)
    )
    y = rows[:, 2:].reshape(1, 3, 4, 1) * fused.permute(0, 2, 3, 1) + mixer.D * x
    y = F.layer_norm(y, (32,), mixer.norm.weight, mixer.norm.bias)
    expected = (y * F.silu(u @ mixer.gate_proj.weight.T)) @ mixer.out_proj.weight.T
    assert_close(mixer(u), expected)


def test_starts_as_published():
    block = SASF(32)
    initialise(block, 3)
    mixer = block.mixer
    assert (mixer.A_log == 0).all() and (mixer.D == 1).all()
    assert (mixer.fusion.kernels == 1).all() and (mixer.fusion.alpha == 1).all()
    steps = F.softplus(mixer.dt_bias)
    assert steps.min() > 0.9e-3 and steps.max() < 1.1e-1
    assert all(torch.isfinite(parameter).all() for parameter in block.parameters())


def test_every_parameter_learns():
    block = _block(16)
    block(_map(2, 16, 5, 7)).square().sum().backward()
    assert [name for name, each in block.named_parameters() if not each.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("size", [(3, 10), (13, 9)])
def test_fused_equals_unfused(dtype, tolerance, size):
    block, x = _block(16, dtype=dtype), _map(2, 16, *size, dtype=dtype)
    with torch.no_grad():
        expected = block(x)
        assert (fuse(block)(x) - expected).abs().max() <= tolerance * expected.abs().max()


def test_an_update_reaches_the_unfused_block_in_both_modes():
    block, x = _block(16).eval(), _map(1, 16, 6, 6)
    fused = fuse(block)
    with torch.no_grad():
        before = block(x)
        block.mixer.fusion.kernels.mul_(-2)
        block.mixer.fusion.alpha.add_(1)
        after = block(x)
        assert not torch.allclose(before, after, atol=1e-3)
        assert torch.equal(after, block.train()(x))
        # the fused copy is of its moment, and a new one follows
        assert_close(fused(x), before, rtol=1e-5, atol=1e-5)
        assert_close(fuse(block)(x), after, rtol=1e-5, atol=1e-5)


def test_fusing_leaves_the_original_alone():
    block = _block(16).train()
    fused = fuse(block)
    assert isinstance(block.mixer.fusion, StateFusion) and block.training
    assert all(parameter.requires_grad for parameter in block.parameters())
    assert isinstance(fused.mixer.fusion, FusedStates) and not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert isinstance(fuse(fused).mixer.fusion, FusedStates)


def test_the_scan_stays_in_single_precision_under_autocast():
    block, x = _block(32), _map(1, 32, 24, 40)
    with torch.no_grad():
        exact = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = block(x)
    assert (rounded - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_the_scan_runs_in_raster_order():
    mixer = ScanMixer(16, 32, 1)
    initialise(mixer, 0)
    u = _map(1, 12, 12, 16)
    changed = u.clone()
    changed[0, 11, 11] += 1
    # the last token reaches its neighbours through the convolution (1) and the fused states (5)
    difference = (mixer(changed) - mixer(u)).abs().sum(dim=-1)[0]
    assert difference[:5].sum() == 0 and difference[11, 11] > 0


def test_strip_pooling_has_the_published_parameters():
    assert sum(parameter.numel() for parameter in StripPooling(512).parameters()) == 2_202_112 // 2


@pytest.mark.parametrize("size", [(1, 1), (3, 10), (15, 20), (11, 38), (25, 30)])
def test_grids_are_adaptive_averages(size, monkeypatch):
    pool, x = StripPooling(16), _map(2, 16, *size)
    initialise(pool, 0)
    pool.eval()
    with torch.no_grad():
        y = pool(x)
        monkeypatch.setattr("evonas.nn.strip_pooling._average", F.adaptive_avg_pool2d)
        assert_close(y, pool(x))
    assert y.shape == x.shape and y.min() == 0


def test_strips_carry_a_change_along_its_row_and_column():
    pool = StripPooling(16, pool_sizes=())
    initialise(pool, 0)
    pool.eval()
    x = _map(1, 16, 20, 20)
    changed = x.clone()
    changed[0, :, 10, 10] += 5
    with torch.no_grad():
        difference = (pool(changed) - pool(x)).abs().sum(dim=1)[0]
    assert difference[10, 0] > 0 and difference[0, 10] > 0
    assert difference[0, 0] == 0 and difference[5, 5] == 0
