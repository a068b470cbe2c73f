"""The selective scan and the dilated sum against their definitions, and where they could break."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from evonas.ops import backend
from evonas.ops.dilated import DILATIONS, depthwise, dilated, merge
from evonas.ops.scan import IMPLEMENTATIONS, scan


def _operands(batch=2, tokens=7, channels=3, dtype=torch.float64, strength=1.0):
    generator = torch.Generator().manual_seed(tokens)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, generator=generator)

    steps = draw(batch, tokens, channels).abs() * strength
    return draw(batch, tokens, channels), steps, -draw(channels).abs(), draw(batch, tokens)


def _by_loops(x, dt, a, b):
    h = np.zeros_like(x)
    for image in range(x.shape[0]):
        for channel in range(x.shape[2]):
            state = 0.0
            for token in range(x.shape[1]):
                step = dt[image, token, channel]
                state = np.exp(step * a[channel]) * state + step * b[image, token] * x[image, token, channel]
                h[image, token, channel] = state
    return h


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 8, 17, 64, 101])
class TestScan:
    def test_equals_its_definition(self, which, tokens):
        operands = _operands(tokens=tokens)
        expected = _by_loops(*(operand.numpy() for operand in operands))
        with backend.use(which):
            np.testing.assert_allclose(scan(*operands).numpy(), expected, rtol=1e-10, atol=1e-12)

    def test_no_token_sees_a_later_one(self, which, tokens):
        x, dt, a, b = _operands(tokens=tokens)
        cut = tokens // 2
        changed = torch.cat([x[:, :cut], x[:, cut:] + 1], dim=1)
        with backend.use(which):
            before, after = scan(x, dt, a, b), scan(changed, dt, a, b)
        assert torch.equal(before[:, :cut], after[:, :cut])
        assert not torch.equal(before[:, cut:], after[:, cut:])


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
@pytest.mark.parametrize("tokens", [1, 2, 5, 8])
def test_gradients(which, tokens):
    operands = tuple(operand.requires_grad_() for operand in _operands(tokens=tokens, channels=2))
    with backend.use(which):
        assert torch.autograd.gradcheck(scan, operands)


def test_long_and_strong_decay_stays_finite_and_exact():
    x, dt, a, b = _operands(batch=1, tokens=4097, channels=4, dtype=torch.float32, strength=50.0)
    # from no decay at all to one whose sum over the tokens is far beyond what exp can take
    a = torch.tensor([0.0, -1e-4, -3.0, -1e4])
    operands = tuple(operand.requires_grad_() for operand in (x, dt, a, b))
    h = scan(*operands)
    h.square().mean().backward()
    assert torch.isfinite(h).all()
    assert all(torch.isfinite(operand.grad).all() for operand in operands)
    with backend.use("reference"), torch.no_grad():
        exact = scan(*(operand.double() for operand in operands))
    assert_close(h.double(), exact, rtol=1e-4, atol=1e-3)


def test_a_weak_decay_after_a_strong_one_keeps_its_precision():
    # sums of logarithms would have lost it: 1e6 + 0.5 has no third decimal in float32
    dt = torch.full((1, 64, 1), 0.5)
    dt[:, ::8] = 1e6
    x, a, b = torch.ones(1, 64, 1), torch.tensor([-1.0]), torch.ones(1, 64)
    with backend.use("reference"):
        exact = scan(x.double(), dt.double(), a.double(), b.double())
    assert_close(scan(x, dt, a, b).double(), exact, rtol=1e-6, atol=0)


def test_a_constant_input_converges():
    # h = dt x / (1 - exp(-dt)) is the fixed point of h = exp(-dt) h + dt x
    x, dt, b = torch.full((1, 400, 1), 2.0), torch.full((1, 400, 1), 0.1), torch.ones(1, 400)
    last = scan(x, dt, torch.tensor([-1.0]), b)[0, -1, 0].item()
    assert last == pytest.approx(0.1 * 2 / (1 - np.exp(-0.1)), rel=1e-5)


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
def test_half_precision_is_computed_in_single(which):
    x, dt, a, b = _operands(tokens=300, dtype=torch.float32)
    halves = tuple(operand.bfloat16() for operand in (x, dt, a, b))
    with backend.use(which), torch.autocast("cpu", torch.bfloat16):
        h = scan(*halves)
        exact = scan(*(operand.float() for operand in halves))
    assert h.dtype == torch.bfloat16 and exact.dtype == torch.float32
    assert_close(h, exact.bfloat16())


def _dilated_operands(channels=3, height=9, width=7):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, channels, height, width), (3, channels, 3, 3), (3,)
    return tuple(torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in shapes)


@pytest.mark.parametrize("size", [(1, 1), (3, 10), (9, 7), (15, 20), (24, 23)])
def test_dilated_is_a_sum_over_taps(size):
    x, kernels, alpha = _dilated_operands(height=size[0], width=size[1])
    padded, expected = F.pad(x, (5, 5, 5, 5), mode="replicate"), torch.zeros_like(x)
    for index, dilation in enumerate(DILATIONS):
        for row in range(3):
            for column in range(3):
                top, left = 5 + dilation * (row - 1), 5 + dilation * (column - 1)
                seen = padded[..., top : top + size[0], left : left + size[1]]
                expected += alpha[index] * kernels[index, :, row, column, None, None] * seen
    assert_close(dilated(x, kernels, alpha), expected)


def test_gradients_of_dilated():
    operands = tuple(operand.requires_grad_() for operand in _dilated_operands(2, 6, 4))
    assert torch.autograd.gradcheck(dilated, operands)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_one_merged_kernel_does_the_same(dtype, tolerance):
    x, kernels, alpha = (operand.to(dtype) for operand in _dilated_operands(height=15, width=20))
    merged = merge(kernels, alpha)
    assert merged.shape == (3, 11, 11)
    # 3 x 9 taps, of which the three in the middle fall together
    assert (merged != 0).sum(dim=(1, 2)).tolist() == [25, 25, 25]
    # relative to the size of the sums
    expected = dilated(x, kernels, alpha)
    assert (depthwise(x, merged) - expected).abs().max() <= tolerance * expected.abs().max()
