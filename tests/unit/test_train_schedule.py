"""Learning rates and parameter groups."""

import math

import pytest
from torch import nn

from evonas.train.schedule import Schedule, decay_groups

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


def test_vectors_do_not_decay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    decayed, free = decay_groups(net, 0.05)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3)]
    assert len(free["params"]) == 4
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
