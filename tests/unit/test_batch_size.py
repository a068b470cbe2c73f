"""How many images go through a network at a time when memory decides."""

import os
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from small_stages import composed

from evonas.errors import UserError
from evonas.nn.memory import peak_bytes
from evonas.schema import Hardware
from evonas.stages.build import factory
from evonas.stages.build.batch_size import MOST, SHARE, eval_batch_size, fitting, worker_bytes
from evonas.stages.build.setup import Setup

GIB = 2**30


def hardware(**changes: Any) -> Any:
    return OmegaConf.structured(Hardware(**changes))


@pytest.mark.parametrize(
    ("image", "memory", "expected"),
    [
        (100, 0, 1),
        (100, 400, 1),
        (100, 799, 1),
        (100, 800, 2),
        (100, 3300, 8),
        (0, 1e9, MOST),
        (1, 1e12, MOST),
    ],
)
def test_the_largest_power_of_two_that_fits(image: int, memory: float, expected: int) -> None:
    assert fitting(image, memory) == expected


def test_what_was_asked_for_is_taken() -> None:
    assert eval_batch_size(Setup(composed("hardware.eval_batch_size=5"))) == 5
    with pytest.raises(UserError, match=r"hardware\.eval_batch_size is 0; it must be at least 1"):
        eval_batch_size(Setup(composed("hardware.eval_batch_size=0")))


def test_memory_decides_where_nothing_was_asked() -> None:
    cfg = composed("hardware.eval_batch_size=null")
    net = factory.supernet(Setup(cfg)).eval()
    image, largest = torch.zeros(1, 3, 32, 32), net.space.largest()
    needed = peak_bytes(lambda: net(image, largest))
    room = hardware(eval_batch_size=None, memory_gb=21 * needed / SHARE / GIB)
    assert eval_batch_size(Setup(cfg), room) == 16


def test_workers_share_the_machine_and_a_limit_counts() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert worker_bytes(hardware(workers=0)) == whole
    assert worker_bytes(hardware(workers=4)) == whole / 4
    assert worker_bytes(hardware(workers=1, memory_gb=0.5)) == GIB / 2


def test_workers_of_one_gpu_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        total_memory = 80 * GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    assert worker_bytes(hardware(accelerator="gpu", devices=2, workers_per_device=4)) == 20 * GIB
    assert worker_bytes(hardware(accelerator="gpu", devices=4, workers=2)) == 80 * GIB
