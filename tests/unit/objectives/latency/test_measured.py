"""Latency that can be believed: warm-up, adaptive repeats, intervals, pinning, machines and runtimes."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import torch

from evonas.config import to_plain
from evonas.errors import DisturbedError, UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.benchmark import Plan, interval, measure, measure_credibly
from evonas.objectives.latency.cpu_affinity import idlest, pinned
from evonas.objectives.latency.machine import clock_mhz, machine
from evonas.objectives.latency.measured import Latency
from evonas.objectives.latency.reference_timing import (
    TimedRun,
    TimedRunner,
    counting_preemptions,
    with_reference,
)
from evonas.runtimes.choice import Auto
from evonas.runtimes.onnxruntime import OnnxRuntime
from evonas.runtimes.torch_eager import TorchEager
from evonas.stages.build import factory

CPU = torch.device("cpu")


def told(times: list[float], disturbed: Callable[[float], bool] = lambda _: False) -> TimedRunner:
    """Laps as if they had been measured; the last one repeats."""
    left = iter(times)

    def take() -> TimedRun:
        ms = next(left, times[-1])
        return TimedRun(ms, ms, disturbed(ms))

    return take


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> EvaluationContext:
    made = small_run.context(tmp_path_factory.mktemp("run"))
    small_run.train(made)
    cfg = made.cfg
    path = made.run.need(factory.SUPERNET, made_by="supernet")
    return EvaluationContext(
        *(to_plain(small_run.config()[key]) for key in ("space", "network")), to_plain(cfg.task), path
    )


def test_warm_up_lasts_until_times_are_stable() -> None:
    falling = [100.0 / (1 + step) for step in range(60)]
    timing = measure(told(falling + [1.6] * 500), Plan(warmup_seconds=10, precision=0.01))
    # the first ten forwards take more than twice as long as the last: none of them may count
    assert timing.is_stable
    assert timing.warmups > 20
    assert timing.median < 4


def test_warm_up_gives_up_and_says_so() -> None:
    swinging = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0] * 100
    timing = measure(told(swinging), Plan(warmup_seconds=0.05))
    assert not timing.is_stable
    assert timing.summary(0.1)["stable"] is False


def test_repeats_adapt_to_the_noise() -> None:
    rng = np.random.default_rng(0)
    plan = Plan(seconds=0, min_repeats=10, max_repeats=500, precision=0.02)
    calm = measure(told(list(10 + 0.01 * rng.standard_normal(600))), plan)
    rough = measure(told(list(10 + 1.0 * np.abs(rng.standard_normal(600)))), plan)
    assert len(calm.times) == 10
    assert 20 < len(rough.times) <= 500
    low, high = interval(rough.times)
    assert high - low <= 0.04 * rough.median


def test_a_slow_network_is_not_repeated_for_ever() -> None:
    rng = np.random.default_rng(2)
    slow = list(1000 * rng.exponential(1.0, 100) + 1)
    assert len(measure(told(slow), Plan(max_seconds=2.0, min_repeats=4)).times) < 20


def test_the_interval_holds_the_median_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        low, high = interval(list(rng.exponential(1.0, 40)))
        hits += low <= np.log(2) <= high
    assert 930 <= hits <= 985


def test_one_interruption_moves_the_mean_and_not_the_median() -> None:
    timing = measure(told([10.0] * 20 + [500.0] + [10.0] * 20), Plan(seconds=0.25))
    assert timing.median == 10.0
    facts = timing.summary(cv_limit=0.1)
    assert facts["noisy"]
    assert facts["mean_ms"] > 12
    assert facts["low_ms"] == facts["high_ms"] == 10.0


def test_disturbed_repeats_do_not_count_where_others_remain() -> None:
    plan = Plan(seconds=0, min_repeats=10, max_repeats=60, precision=0.001)
    mixed = measure(told([10.0, 14.0] * 60, lambda ms: ms > 12), plan)
    assert set(mixed.times) == {10.0}
    assert mixed.disturbed > 0
    # a computer that disturbs every repeat still gets an answer, and it is told
    busy = measure(told([14.0] * 60, lambda _: True), plan)
    assert busy.median == 14.0
    assert busy.summary(0.1)["disturbed"] >= 10


def test_a_few_undisturbed_repeats_are_enough() -> None:
    plan = Plan(seconds=0, min_repeats=10, max_repeats=60, precision=0.001)
    timing = measure(told([14.0, 14.0, 14.0, 14.0, 10.0] * 30, lambda ms: ms > 12), plan)
    assert set(timing.times) == {10.0} and len(timing.times) < timing.runs


WIDE = [0.08, 1.0, 0.0925, 3.0, 0.09, 1.2]


@pytest.mark.parametrize(
    ("times", "is_disturbed", "doubt"),
    [
        (WIDE, False, "its interval is wider than its value"),
        ([1.3], True, "other programs interrupted every repeat"),
        ([1.3], False, ""),
        # nobody lets others wait for so long
        ([200.0], True, ""),
    ],
)
def test_what_is_no_measurement_is_repeated_and_then_fails(
    times: list[float], is_disturbed: bool, doubt: str
) -> None:
    plan = Plan(warmup_seconds=0.01, seconds=0, max_seconds=0.05, min_repeats=10, max_repeats=30)
    timing = measure(told(times * 100, lambda _: is_disturbed), plan)
    assert timing.doubt == doubt
    if not doubt:
        assert measure_credibly(told(times * 100, lambda _: is_disturbed), plan).median == timing.median
        return
    with pytest.raises(DisturbedError, match=f"3 times, and {doubt}"):
        measure_credibly(told(times * 1000, lambda _: is_disturbed), plan)
    # the machine calms down: the second or third timing counts
    left = [*(times * 15)[:60], *[1.275] * 1000]
    calm = measure_credibly(told(left, lambda ms: is_disturbed and ms != 1.275), plan)
    assert calm.median == 1.275


def test_a_pace_that_changes_cancels_against_a_reference() -> None:
    rng = np.random.default_rng(3)
    pace = iter(np.repeat(1 + rng.random(2000), 2))
    network, reference = (lambda ms=ms: TimedRun(found := ms * next(pace), found) for ms in (12.0, 8.0))
    timing = measure(with_reference(network, reference, nominal_ms=8.0), Plan(seconds=0.3))
    assert timing.median == pytest.approx(12.0)
    assert timing.cv < 1e-6


def test_a_pair_is_disturbed_by_either_and_costs_both() -> None:
    for one, other in [(True, False), (False, True)]:
        run = with_reference(
            lambda d=one: TimedRun(6.0, 6.0, d), lambda d=other: TimedRun(4.0, 4.0, d), 2.0
        )()
        assert run == TimedRun(3.0, 10.0, True)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.usefixtures("affinity")
def test_sharing_a_core_is_noticed() -> None:
    def compute() -> float:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.02:
            pass
        return 20.0

    with beside_a_busy_process():
        assert any(counting_preemptions(compute)().is_disturbed for _ in range(100))


@contextmanager
def beside_a_busy_process() -> Iterator[None]:
    """This thread on one core, together with a process that computes without end."""
    before, core = os.sched_getaffinity(0), max(os.sched_getaffinity(0))
    burning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for pid in (0, burning.pid):
            os.sched_setaffinity(pid, [core])
        yield
    finally:
        burning.kill()
        burning.wait()
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("changes", [{"warmup": 0}, {"min_repeats": 0}, {"min_repeats": 9, "max_repeats": 8}])
def test_plans_that_cannot_be(changes: dict[str, int]) -> None:
    with pytest.raises(UserError, match="must be at least 1"):
        Plan(**changes)  # type: ignore[arg-type]


@pytest.fixture
def affinity() -> Iterator[set[int]]:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not let a process choose its cores")
    before = os.sched_getaffinity(0)
    yield before
    assert os.sched_getaffinity(0) == before


def test_pinning_holds_and_ends(affinity: set[int]) -> None:
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
    with pinned(1, wanted=False) as cores:
        assert cores == []
    with pinned(10_000) as cores:
        assert set(cores) == affinity
    with pytest.raises(KeyError), pinned(1):
        raise KeyError


def test_the_idlest_core_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {False: (0, 0, 0), True: (40, 3, 9)}
    looked = []

    def busy(_: Path) -> dict[int, int]:
        looked.append(1)
        return dict(enumerate(lines[len(looked) > 1]))

    monkeypatch.setattr("evonas.objectives.latency.cpu_affinity._busy", busy)
    assert idlest([0, 1, 2], 1, look_s=0) == [1]
    looked.clear()
    assert idlest([0, 1, 2], 2, look_s=0) == [1, 2]


def test_without_counts_the_last_cores_are_taken(tmp_path: Path) -> None:
    assert idlest([0, 1, 2, 3], 2, stat=tmp_path / "none", look_s=0) == [2, 3]


def test_machine_is_stable_and_plain() -> None:
    found = machine(CPU)
    assert found == machine(CPU)
    assert found["name"]
    assert all(isinstance(value, str) for value in found.values())
    clock = clock_mhz(CPU)
    assert clock is None or clock > 100


def test_facts_beside_the_value(bench: EvaluationContext) -> None:
    latency = Latency(seconds=0.01, max_repeats=30)
    latency.prepare(bench)
    value, extra = latency.measure(bench.space.smallest())
    facts = extra["latency"]
    assert facts["low_ms"] <= value <= facts["high_ms"]
    assert facts["threads"] == 1
    assert len(facts["cores"]) == (1 if hasattr(os, "sched_setaffinity") else 0)
    assert {"cv", "cv_limit", "noisy", "repeats", "disturbed", "warmups", "stable"} <= facts.keys()
    assert facts["clock"] == "cpu"
    # the reference is the smallest network itself; a busy machine disturbs one of them more than the other
    assert 0.5 < value / facts["reference_ms"] < 2


def test_without_a_reference_it_is_another_number(bench: EvaluationContext) -> None:
    alone = Latency(seconds=0.01, max_repeats=30, reference=False)
    alone.prepare(bench)
    _, extra = alone.measure(bench.space.smallest())
    assert "reference_ms" not in extra["latency"]
    assert alone.identity(bench) != Latency(seconds=0.01, max_repeats=30).identity(bench)


def test_a_noisy_value_is_warned_of(bench: EvaluationContext, caplog: pytest.LogCaptureFixture) -> None:
    latency = Latency(seconds=0.01, cv_limit=0.0)
    latency.prepare(bench)
    with caplog.at_level(logging.WARNING):
        _, extra = latency.measure(bench.space.smallest())
    assert extra["latency"]["noisy"]
    assert "latency is noisy" in caplog.text


def test_onnxruntime_times_the_same_network(bench: EvaluationContext) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    latency = Latency(seconds=0.01, runtime="onnxruntime")
    latency.prepare(bench)
    value, extra = latency.measure(bench.space.smallest())
    assert value > 0
    assert extra["latency"]["repeats"] >= 10
    assert extra["latency"]["runtime"][0] == "onnxruntime"
    assert latency.identity(bench)["runtime"][0] == "onnxruntime"
    assert latency.identity(bench) == Latency(seconds=0.01).identity(bench)
    assert extra["latency"]["precision"] == "fp32" and extra["latency"]["batch"] == 1
    assert latency.identity(bench) != Latency(seconds=0.01, runtime="torch").identity(bench)


def test_identities_are_those_of_earlier_releases_for_what_they_measured(bench: EvaluationContext) -> None:
    common = {
        **bench.kernels,
        "version": 3,
        "threads": 2,
        "pin": True,
        "graphs": False,
        "clock": "wall",
        "reference": bench.space.format(bench.space.smallest()),
        "input_size": list(bench.input_size),
        "precision": "32-true",
        "device": machine(CPU),
    }
    in_torch = {**common, "runtime": ["torch", torch.__version__]}
    assert Latency(runtime="torch", threads=2).identity(bench) == in_torch
    assert Latency(runtime=TorchEager(threads=2)).identity(bench) == in_torch
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    in_onnx = {**common, "runtime": ["onnxruntime", onnxruntime.__version__], "exporter": "trace"}
    assert Latency(runtime=Auto(threads=2)).identity(bench) == in_onnx


def test_precision_and_batch_are_part_of_the_identity(bench: EvaluationContext) -> None:
    plain = Latency(runtime=TorchEager()).identity(bench)
    assert Latency(runtime=TorchEager(precision="fp32")).identity(bench) == plain
    assert Latency(runtime=TorchEager(precision="bf16")).identity(bench) == {
        **plain,
        "precision": "bf16-mixed",
    }
    assert Latency(runtime=TorchEager(batch=4)).identity(bench) == {**plain, "batch": 4}


def test_a_pass_is_of_a_whole_batch(bench: EvaluationContext) -> None:
    seen = set[torch.Size]()

    class Looks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.add(x.shape)
            # longer than others let a pass wait
            time.sleep(0.06)
            return x

    latency = Latency(runtime=TorchEager(batch=3), clock="wall", reference=False, min_repeats=2, seconds=0)
    latency.prepare(bench)
    value, extra = latency.measure_network(Looks().eval())
    assert seen == {(3, 3, *bench.input_size)}
    # of the batch, and not of one of its images
    assert value >= 60 and extra["latency"]["batch"] == 3


def test_a_subnet_is_converted_once(bench: EvaluationContext, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    converted, original = list[int](), OnnxRuntime.convert

    def counted(self: OnnxRuntime, net: torch.nn.Module, images: torch.Tensor) -> Any:
        converted.append(1)
        return original(self, net, images)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(OnnxRuntime, "convert", counted)
        folder = str(tmp_path / "conversions")
        first = Latency(seconds=0.01, max_repeats=20, runtime="onnxruntime", conversions=folder)
        first.prepare(bench)
        for genotype in (bench.space.largest(), bench.space.smallest(), bench.space.largest()):
            first.measure(genotype)
        assert len(converted) == 2
        # another process finds them in the folder
        again = Latency(seconds=0.01, max_repeats=20, runtime="onnxruntime", conversions=folder)
        again.prepare(bench)
        again.measure(bench.space.largest())
        assert len(converted) == 2
        # whoever has no structure to name, such as a baseline, has it converted
        again.measure_network(bench.subnet(bench.space.largest()))
        assert len(converted) == 3
