"""Strategies in the real module: they go on bit for bit, and leave no trace where they only look."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import small_supernet
import torch
import torch.distributed as dist
from small_training import StopError, equal, stopping_at

from evonas.space.genotype import Genotype
from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.data import TrainingData
from evonas.train.module import SupernetModule
from evonas.train.optim.gradient_merge import MonitoredSum, NasVit, PcGrad
from evonas.train.sampling.base import LossAwareSampler
from evonas.train.sampling.loss_oracle import BatchLossOracle

STEPS, BATCH = 4, 4
EPOCHS = STEPS * BATCH // small_supernet.ITEMS
FAST: dict[str, dict[str, Any]] = {
    "performance_aware": {
        "levels": 3,
        "members": 3,
        "rescore_every": 2,
        "refresh_every": 3,
        "window": 0.3,
        "size": 16,
    },
    "best_up": {"levels": 4, "size": 16, "candidates": 2, "by": "predictor"},
    "nsas": {},
}
pytestmark = pytest.mark.usefixtures("one_thread")


def data() -> TrainingData:
    return TrainingData(small_supernet.task().dataset("train"), BATCH, 0)


def trained(name: str, state: Resumable | None = None, stop: int = 0) -> SupernetModule:
    made = small_supernet.module(name, STEPS, **FAST[name])
    fit(made, data(), EPOCHS, Devices(), state, stopping_at(stop))
    return made


@pytest.mark.parametrize(
    "name",
    ["performance_aware", *(pytest.param(name, marks=pytest.mark.slow) for name in ("best_up", "nsas"))],
)
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    straight = trained(name)
    state = Resumable(tmp_path / "state.safetensors", {}, True, every=1)
    with pytest.raises(StopError):
        trained(name, state, stop=4)
    continued = trained(name, state)
    assert equal(continued, straight)
    if isinstance(straight.sampler, LossAwareSampler):
        assert straight.sampler.state() and continued.sampler.state() == straight.sampler.state()


def test_judging_leaves_no_trace() -> None:
    net = small_supernet.supernet().train()
    batch = next(iter(torch.utils.data.DataLoader(small_supernet.task().dataset("train"), batch_size=4)))
    before, modes = small_supernet.state(net), [module.training for module in net.modules()]
    random = torch.get_rng_state()
    oracle = BatchLossOracle(net, small_supernet.task(), batch)
    points = [net.space.largest(), net.space.smallest()]
    first = oracle(points)
    assert oracle(points[::-1]) == first[::-1] and first[0] != first[1]
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(
    "merge", [MonitoredSum(), NasVit(after=0.0), PcGrad()], ids=lambda each: type(each).__name__
)
def test_a_merge_notes_cosines_against_gaps(merge: Any) -> None:
    made, heard = small_supernet.module("sandwich", 2, merge), []
    fit(made, data(), 1, Devices(), listen=lambda _, values: heard.append(dict(values)))
    assert len(heard) == 2
    for values in heard:
        assert values["gap_near"] <= values["gap_far"]
        assert min(values["cosine_near"], values["cosine_far"]) >= -1.0001
        assert max(values["cosine_near"], values["cosine_far"]) <= 1.0001


def test_the_watched_sum_is_what_accumulating_gives() -> None:
    plain, apart = (small_supernet.module("sandwich", 2, merge) for merge in (None, MonitoredSum()))
    for made in (plain, apart):
        fit(made, data(), 1, Devices())
    pairs = zip(plain.state_dict().values(), apart.state_dict().values(), strict=True)
    assert all(torch.allclose(mine.float(), theirs.float(), atol=1e-4) for mine, theirs in pairs)


def test_the_pool_has_a_gradient() -> None:
    """Without the pool's share of the gradient, the same first subnets leave other weights."""
    pooled = small_supernet.module("nsas", 4, size=3, share=0.5)
    other = small_supernet.module("nsas", 4, size=3, share=1e-6)
    for made in (pooled, other):
        fit(made, data(), 2, Devices())
    assert not equal(pooled, other)
    assert len(pooled.sampler.genotypes(3)) == 4


class Comparing(SupernetModule):
    """Refuses to train what another rank does not train."""

    def _chosen(self, batch: Any) -> list[Genotype]:
        chosen = super()._chosen(batch)
        gathered: list[Any] = [None, None]
        dist.all_gather_object(gathered, chosen)
        assert gathered[0] == gathered[1]
        return chosen


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch has no gloo here")
@pytest.mark.parametrize("name", ["performance_aware", pytest.param("best_up", marks=pytest.mark.slow)])
def test_two_ranks_choose_alike_although_they_see_other_images(name: str) -> None:
    made = small_supernet.module(name, 4, **{**FAST[name], **({"by": "loss"} if name == "best_up" else {})})
    made.__class__ = Comparing
    heard: list[Sequence[float]] = []
    fit(made, data(), 2, Devices(devices=2), listen=lambda step, values: heard.append((step, values["loss"])))
    assert [step for step, _ in heard] == [1, 2, 3, 4]
