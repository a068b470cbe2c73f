"""The SSD mixer against its definition, token by token."""

import numpy as np
import pytest
import torch

from evonas.errors import UserError
from evonas.ops import backend
from evonas.ops.ssd import ssd


def _operands(batch=2, tokens=7, heads=3, dim=4, state=5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return (
        draw(batch, tokens, heads, dim),
        draw(batch, tokens, heads).abs(),
        draw(batch, tokens, state),
        draw(batch, tokens, state),
        draw(heads),
    )


def _by_loops(x, a, b, c, d):
    y = np.zeros_like(x)
    for image in range(x.shape[0]):
        for head in range(x.shape[2]):
            state = np.zeros((b.shape[-1], x.shape[-1]))
            for token in range(x.shape[1]):
                state += np.outer(b[image, token], a[image, token, head] * x[image, token, head])
            for token in range(x.shape[1]):
                y[image, token, head] = c[image, token] @ state + d[head] * x[image, token, head]
    return y


@pytest.mark.parametrize("tokens, heads, state", [(1, 1, 1), (7, 3, 5), (12, 2, 16)])
def test_equals_its_definition(tokens, heads, state):
    operands = _operands(tokens=tokens, heads=heads, state=state)
    expected = _by_loops(*(operand.numpy() for operand in operands))
    np.testing.assert_allclose(ssd(*operands).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_order_of_tokens_does_not_matter():
    x, a, b, c, d = _operands()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    shuffled = ssd(x[:, order], a[:, order], b[:, order], c[:, order], d)
    torch.testing.assert_close(shuffled, ssd(x, a, b, c, d)[:, order])


def test_tokens_are_mixed():
    x, a, b, c, d = _operands()
    changed = x.clone()
    changed[:, 0] += 1
    assert not torch.allclose(ssd(changed, a, b, c, d)[:, 1:], ssd(x, a, b, c, d)[:, 1:])


def test_gradients():
    operands = tuple(operand.requires_grad_() for operand in _operands(tokens=4, heads=2, dim=2, state=3))
    assert torch.autograd.gradcheck(ssd, operands)


def test_backend_choice_ends_with_its_block():
    assert backend.wanted() is None
    with backend.use("reference"):
        assert backend.wanted() == "reference"
    assert backend.wanted() is None


def test_unknown_backend_is_named():
    with pytest.raises(UserError, match="'warp'"), backend.use("warp"):
        pass


def test_falls_back_to_the_reference():
    chosen = backend.choose({"reference": ssd})
    assert chosen is ssd
