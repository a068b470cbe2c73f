"""The most memory that tensors take at one time, against sums by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from evonas.nn.memory import peak_bytes

X = torch.zeros(1000)
SIZE = X.nbytes


def _one_goes() -> Tensor:
    second = X * 2 + 1
    return second * 3 + second


ACTS: dict[str, tuple[Callable[[], Any], int]] = {
    "views take nothing": (lambda: X.view(10, 100).t()[:5], 0),
    "in place takes nothing": (lambda: X.add_(0), 0),
    "one after the other": (lambda: X * 2 + 1, 2 * SIZE),
    "all are kept": (lambda: [X * 1 for _ in range(5)], 5 * SIZE),
    "the first goes": (_one_goes, 3 * SIZE),
    "two answers of one function": (lambda: torch.sort(X), SIZE + 8 * len(X)),
    "a layer": (lambda: torch.nn.functional.linear(X, torch.zeros(10, 1000)), 4 * 10_000 + 40),
}


@pytest.mark.parametrize("name", ACTS)
def test_the_most_that_lives_at_one_time(name: str) -> None:
    act, expected = ACTS[name]
    assert peak_bytes(act) == expected


def test_it_grows_with_the_images() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3))
    few, many = (peak_bytes(lambda number=number: net(torch.zeros(number, 3, 16, 16))) for number in (2, 8))
    assert many == 4 * few
