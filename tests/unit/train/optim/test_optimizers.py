"""Optimizers by name: their first updates worked out by hand, and what is refused."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from evonas.errors import UserError
from evonas.train.optim.optimizers import check, optimizer


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


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("adam", {"betas": [0.9]}, "adam cannot be made with betas"),
        ("lion", {"betas": [0.9, 0.99, 0.1]}, "lion cannot be made with betas.*too many values"),
        ("muon", {"ns_steps": "x"}, "muon cannot be made with ns_steps=x"),
        ("adamw", {"differentiable": True}, "adamw cannot be made with differentiable=True"),
        # timm would drop these without a word
        ("adamw", {"momentum": 0.5}, "adamw does not use momentum=0.5.*Leave train"),
        ("sgd", {"layer_decay": 0.5}, "sgd does not use layer_decay=0.5"),
        ("sgd", {"weight_decay": 0.1}, "Type train.*.weight_decay=0.1"),
        ("sgd", {"lr": 0.1}, "Type train.*.lr=0.1"),
        ("sgd", {"nesterov": "no"}, "nesterov of sgd must be true or false, got no"),
    ],
)
def test_options_are_refused_before_the_first_step(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check(name, options)
    assert re.search(said, f"{caught.value.message} {caught.value.hint}")


def test_a_check_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    check("adamw", {})
    check("sgd", {"momentum": 0.8})
    check("adafactor", {"min_dim_size_to_factor": 1})
    assert torch.equal(before, torch.get_rng_state())
