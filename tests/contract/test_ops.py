"""What every backend of every primitive must hold, against the reference."""

import pytest
import torch
from torch.testing import assert_close

from evonas.ops import backend, dct, dilated, scan, splat, ssd


def _draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def _ssd_operands(tokens=15):
    shapes = [(2, tokens, 2, 6), (2, tokens, 2), (2, tokens, 4), (2, tokens, 4), (2,)]
    return tuple(_draw(*shape) for shape in shapes)


def _scan_operands(tokens=15):
    x, steps, rate = _draw(2, tokens, 5), _draw(2, tokens, 5).abs(), -_draw(5).abs()
    return x, steps, rate, _draw(2, tokens)


def _dilated_operands(height=9, width=7):
    return _draw(2, 3, height, width), _draw(3, 3, 3, 3), _draw(3)


def _splat_operands(number=40):
    """Gaussians before a camera, some of them behind it or beside its view."""
    means, quats, scales = _draw(number, 3), _draw(number, 4), 0.3 * _draw(number, 3).abs() + 0.02
    view, intrinsics = torch.eye(4), torch.tensor([[12.0, 0, 9], [0, 12, 7], [0, 0, 1]])
    view[2, 3] = 1.5
    operands = means, quats, scales, _draw(number).sigmoid(), _draw(number, 2), view, intrinsics
    # gradients of what is close to the camera are large, and so is their rounding
    return tuple(operand.double() for operand in operands)


def _splat(*operands):
    return splat.splat(*operands, height=14, width=19)


PRIMITIVES = {
    "ssd": (ssd.IMPLEMENTATIONS, ssd.ssd, _ssd_operands()),
    "ssd one token": (ssd.IMPLEMENTATIONS, ssd.ssd, _ssd_operands(tokens=1)),
    "dct2": (dct.FORWARD, dct.dct2, (_draw(2, 3, 7, 5),)),
    "idct2": (dct.INVERSE, dct.idct2, (_draw(2, 3, 7, 5),)),
    "scan": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands()),
    "scan one token": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands(tokens=1)),
    "scan even": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands(tokens=16)),
    "dilated": (dilated.IMPLEMENTATIONS, dilated.dilated, _dilated_operands()),
    "splat": (splat.IMPLEMENTATIONS, _splat, _splat_operands()),
    "splat one": (splat.IMPLEMENTATIONS, _splat, _splat_operands(number=1)),
    "dilated one row": (dilated.IMPLEMENTATIONS, dilated.dilated, _dilated_operands(height=1)),
}
CASES = [(name, which) for name, (known, _, _) in PRIMITIVES.items() for which in known]


def _run(primitive, operands):
    inputs = tuple(operand.clone().requires_grad_() for operand in operands)
    output = primitive(*inputs)
    output.square().sum().backward()
    return output.detach(), [operand.grad for operand in inputs]


@pytest.mark.parametrize("name, which", CASES)
class TestBackends:
    def test_output_and_gradients_agree_with_the_reference(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        with backend.use("reference"):
            expected, expected_gradients = _run(primitive, operands)
        with backend.use(which):
            output, gradients = _run(primitive, operands)
        assert_close(output, expected)
        assert_close(gradients, expected_gradients)

    def test_strides_do_not_matter(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        strided = tuple(torch.stack([x, x + 1], dim=-1)[..., 0] for x in operands)
        assert not strided[0].is_contiguous()
        with backend.use(which):
            assert_close(primitive(*strided), primitive(*operands))

    def test_operands_are_left_alone(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        before = [operand.clone() for operand in operands]
        with backend.use(which):
            primitive(*operands)
        assert all(map(torch.equal, operands, before))

    def test_nothing_unset_is_read(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        torch.use_deterministic_algorithms(True)
        try:
            # deterministic mode fills fresh memory with NaN
            with backend.use(which):
                assert torch.isfinite(primitive(*operands)).all()
        finally:
            torch.use_deterministic_algorithms(False)


def test_the_reference_is_everywhere():
    assert all("reference" in known for known, _, _ in PRIMITIVES.values())
    assert {which for _, which in CASES} <= set(backend.NAMES)
