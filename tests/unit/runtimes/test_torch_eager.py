"""Timed passes in torch."""

import time
from contextlib import nullcontext

import torch

from evonas.runtimes.torch_eager import TorchEager, torch_once


def test_the_thread_s_clock_does_not_count_waiting() -> None:
    once = torch_once(lambda _: time.sleep(0.05), torch.zeros(1), nullcontext, clock="cpu")
    assert once() < 25
    assert torch_once(lambda _: time.sleep(0.05), torch.zeros(1), nullcontext)() >= 50


def test_a_pass_has_its_threads_and_leaves_those_of_others() -> None:
    seen, before = list[int](), torch.get_num_threads()

    class Looks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return x

    image = torch.zeros(1, 3, 2, 2)
    prepared = TorchEager(precision="fp32", threads=before + 1).prepare(Looks().eval(), image)
    prepared.once()
    prepared.run(image)
    assert seen == [before + 1] * 2 and torch.get_num_threads() == before
