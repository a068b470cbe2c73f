"""Optimizers by name: their first updates worked out by hand, and what is refused."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from evonas.errors import UserError
from evonas.train.optim.optimizers import optimizer


def updates(name: str, gradients: list[float], decay: float = 0.0, **options: Any) -> list[float]:
    """A weight that starts at 1, after each step at rate .1."""
    weight = nn.Parameter(torch.ones(1))
    made = optimizer([{"params": [weight], "weight_decay": decay, "scale": 0.5}], name, 0.1, options, False)
    assert made.param_groups[0]["scale"] == 0.5
    found = []
    for gradient in gradients:
        weight.grad = torch.full((1,), gradient)
        made.step()
        found.append(weight.item())
    return found


def test_momentum_and_nesterov() -> None:
    """Velocity v = .9 v + g; the plain step is v, Nesterov's is g + .9 v."""
    assert updates("momentum", [1.0, 2.0]) == pytest.approx([0.9, 0.9 - 0.1 * 2.9])
    assert updates("sgd", [1.0, 2.0]) == pytest.approx([1 - 0.1 * 1.9, 0.81 - 0.1 * (2 + 0.9 * 2.9)])
    assert updates("momentum", [1.0, 2.0], momentum=0.5) == pytest.approx([0.9, 0.9 - 0.1 * 2.5])
    assert updates("momentum", [0.0], decay=0.01) == pytest.approx([1 - 0.1 * 0.01])


def test_rmsprop_of_tensorflow_starts_at_one_and_has_eps_under_the_root() -> None:
    found = updates("rmsproptf", [2.0], alpha=0.9, eps=0.001, momentum=0.9)
    assert found == pytest.approx([1 - 0.1 * 2 / (0.9 * 1 + 0.1 * 4 + 0.001) ** 0.5])


def test_adamw_is_torchs() -> None:
    assert updates("adamw", [3.0], decay=0.05) == pytest.approx([1 - 0.1 * 0.05 - 0.1], rel=1e-6)
    assert updates("adamw", [3.0, -1.0], betas=[0.5, 0.5])[0] == pytest.approx(0.9, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("adanw2", {}, "Try one of timm's: .*adanw"),
        ("adahessian", {}, "adahessian is unknown"),
        ("sgd", {"nesterof": True}, "sgd cannot be made with nesterof=True"),
        ("momentum", {"momentum": -1}, "momentum cannot be made with momentum=-1"),
    ],
)
def test_what_cannot_be_made_is_the_users_error(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        updates(name, [1.0], **options)
    assert re.search(said, f"{caught.value.message} {caught.value.hint}")
