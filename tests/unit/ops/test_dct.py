"""The DCT against scipy."""

import pytest
import scipy.fft
import torch
from torch.testing import assert_close

from evonas.ops.dct import dct2, idct2

SIZES = [(1, 1), (4, 4), (5, 7), (1, 6), (14, 19)]


def _plane(height, width, dtype=torch.float64):
    return torch.randn(2, 3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(height))


@pytest.mark.parametrize("norm", ["ortho", "backward"])
@pytest.mark.parametrize("height, width", SIZES)
def test_equals_scipy(height, width, norm):
    x = _plane(height, width)
    expected = scipy.fft.dctn(x.numpy(), type=2, axes=(-2, -1), norm=norm)
    assert_close(dct2(x, norm), torch.from_numpy(expected), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("norm", ["ortho", "backward"])
@pytest.mark.parametrize("height, width", SIZES)
def test_inverse_equals_scipy_and_undoes(height, width, norm):
    x = _plane(height, width)
    expected = scipy.fft.idctn(x.numpy(), type=2, axes=(-2, -1), norm=norm)
    assert_close(idct2(x, norm), torch.from_numpy(expected), rtol=1e-11, atol=1e-11)
    assert_close(idct2(dct2(x, norm), norm), x, rtol=1e-11, atol=1e-11)


def test_keeps_energy_when_orthonormal():
    x = _plane(9, 6)
    assert_close(dct2(x).square().sum(), x.square().sum())


def test_dc_is_the_mean():
    x = _plane(6, 8)
    assert_close(dct2(x)[..., 0, 0], x.mean((-2, -1)) * 48**0.5)


def test_removing_dc_subtracts_the_mean():
    x = _plane(6, 8)
    spectrum = dct2(x)
    spectrum[..., 0, 0] = 0
    assert_close(idct2(spectrum), x - x.mean((-2, -1), keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loses_only_the_rounding(dtype):
    x = _plane(32, 40, dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = dct2(x)
    assert result.dtype == dtype
    assert_close(result, dct2(x.double()).to(dtype))


def test_basis_first_used_in_inference_mode_trains_later():
    with torch.inference_mode():
        dct2(torch.ones(11, 13))
    x = torch.ones(11, 13, requires_grad=True)
    dct2(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_gradients():
    x = _plane(3, 4)[0, 0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: (dct2(x), idct2(x, "backward")), (x,))
