"""Learning rates and parameter groups."""

import math

import pytest
from torch import nn

from evonas.errors import UserError
from evonas.supernets.evonet.mixers import LayerNorm
from evonas.train.optim.lr_schedule import Schedule
from evonas.train.optim.parameter_groups import Decay, parameter_groups

STEPS, EPOCHS, WARMUP = 1448, 40, 3
PAPER = Schedule(STEPS * EPOCHS, STEPS * WARMUP, peak=5e-5, start=5e-7, minimum=5e-6)


def test_published_rates_at_start_peak_and_end() -> None:
    end = 5e-6 + 0.5 * 4.5e-5 * (1 + math.cos(math.pi * (1 - WARMUP / EPOCHS)))
    assert PAPER.at(0) == 5e-7
    assert PAPER.at(STEPS * WARMUP) == pytest.approx(5e-5, rel=1e-12)
    assert PAPER.at(STEPS * EPOCHS) == pytest.approx(end, rel=1e-12)


def test_rates_rise_to_the_peak_and_fall_from_it() -> None:
    rates = [PAPER.at(step) for step in range(0, STEPS * EPOCHS, 100)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert Schedule(10, 0, peak=1.0, start=0.1, minimum=0.0).at(0) == 1.0


def net() -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), LayerNorm(2))
    made[2].weight.requires_grad_(False)
    return made


def split(rule: str) -> tuple[set[str], set[str]]:
    """Names of what decays and of what does not."""
    made = net()
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    groups = parameter_groups(made, Decay(0.05, rule))
    found = {
        group["weight_decay"]: {names[id(parameter)] for parameter in group["params"]} for group in groups
    }
    return found.get(0.05, set()), found.get(0.0, set())


def test_each_rule_spares_what_it_says() -> None:
    norms = {"1.weight", "1.bias", "3.weight", "3.bias"}
    everything = norms | {"0.weight", "0.bias", "2.bias"}
    assert split("matrices") == ({"0.weight"}, everything - {"0.weight"})
    assert split("all") == (everything, set())
    assert split("no_norm") == (everything - norms, norms)


def test_an_unknown_rule_is_the_users_error() -> None:
    with pytest.raises(UserError, match="decay=some"):
        Decay(0.05, "some")


def test_a_part_can_be_left_out_and_no_parameter_is_counted_twice() -> None:
    made = net()
    made.add_module("again", made[0])
    groups = parameter_groups(made, Decay(0.1, "all"), scale=0.5, without=made[2])
    assert sum(len(group["params"]) for group in groups) == 6
    assert all(group["scale"] == 0.5 for group in groups)


def test_published_rates_of_every_step_of_the_curriculum() -> None:
    """Start, peak and last value of KITTI's eight trainings (epochs, warm-up epochs of table 3.1)."""
    for epochs, warmup in ((40, 3), (5, 0), (20, 1), (5, 0), (20, 1), (5, 0), (20, 1), (25, 1)):
        rates = Schedule(STEPS * epochs, STEPS * warmup, peak=5e-5, start=5e-7, minimum=5e-6)
        end = 5e-6 + 0.5 * 4.5e-5 * (1 + math.cos(math.pi * (1 - warmup / epochs)))
        assert rates.at(0) == (5e-7 if warmup else 5e-5)
        assert rates.at(STEPS * warmup) == pytest.approx(5e-5, rel=1e-12)
        assert rates.at(STEPS * epochs) == pytest.approx(end, rel=1e-12)


def test_named_parameters_do_not_decay() -> None:
    def decayed(*patterns: str) -> list[tuple[int, ...]]:
        groups = parameter_groups(net(), Decay(0.1, "matrices", patterns))
        return [tuple(each.shape) for group in groups if group["weight_decay"] for each in group["params"]]

    assert decayed() == [(4, 3, 3, 3)]
    assert decayed("0.*") == [] == decayed("*weight")
    with pytest.raises(UserError, match=r"undecayed=\*\.stem matches no parameter"):
        decayed("*.stem")
