"""What every objective promises, on the real supernet and the rendered scenes."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from evonas import weights
from evonas.config import build
from evonas.evaluate.engine import EvaluatorLike, Job
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.nn.count import count_costs
from evonas.objectives.base import Objective
from evonas.objectives.context import EvaluationContext
from evonas.objectives.evaluator import Evaluator
from evonas.objectives.latency.machine import machine
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import Supernet, extract

SPACE = {
    "_target_": "evonas.supernets.evonet.space.evonet_space",
    "name": "nano",
    "mlp_ratio": [0.5, 1, 2, 3],
    "d_state": [8, 16, 24, 32],
    "expand": [0.5, 1, 2],
    "depths": [2, 2, 4, 2],
}
NETWORK = {
    "_target_": "evonas.supernets.evonet.family.EvoNet",
    "dims": [16, 24, 32, 48],
    "heads": [2, 2, 2, 2],
    "stem_dim": 8,
    "stem_ratio": 2.0,
    "merge_ratio": 2.0,
}
TASK = {
    "_target_": "evonas.tasks.depth.Depth",
    "name": "synthetic",
    "max_depth": 20.0,
    "head": {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True, "width": 16},
    "data": {
        "_target_": "evonas.data.synthetic.scenes.SyntheticScenes",
        "seed": 0,
        "train": 2,
        "validation": 5,
        "test": 2,
        "height": 32,
        "width": 64,
    },
}
OBJECTIVES = {
    "error": {"_target_": "evonas.objectives.error.Error"},
    # what these tests ask of a time needs no narrow interval
    "latency": {
        "_target_": "evonas.objectives.latency.measured.Latency",
        "seconds": 0.02,
        "warmup_seconds": 0.1,
        "max_seconds": 0.2,
    },
    "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
    "params": {"_target_": "evonas.objectives.analytic_costs.Params"},
    "peak_memory": {
        "_target_": "evonas.objectives.footprint.PeakMemory",
        # the process that runs a network has no other precision
        "runtime": {"_target_": "evonas.runtimes.choice.Auto", "precision": "fp32"},
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a supernet; random ones measure as well as good ones."""
    path = tmp_path_factory.mktemp("weights") / "supernet.safetensors"
    bench = EvaluationContext(SPACE, NETWORK, TASK, path)
    weights.save(path, Supernet(bench.family, bench.head).state_dict())
    return path


@pytest.fixture(scope="module")
def bench(trained: Path) -> EvaluationContext:
    return EvaluationContext(SPACE, NETWORK, TASK, trained, batch_size=2)


# errors have one name, so that one evaluator has one of them
FINETUNED = {
    "_target_": "evonas.objectives.finetuned_error.FinetunedError",
    "recipe": {"epochs": 1, "batch_size": 2, "warmup_epochs": 0.0},
    "seed": 0,
}


@pytest.fixture(scope="module", params=[*OBJECTIVES, "finetuned"])
def objective(request: pytest.FixtureRequest, bench: EvaluationContext) -> Objective:
    made: Objective = build({**OBJECTIVES, "finetuned": FINETUNED}[request.param])
    made.prepare(bench)
    return made


def points(bench: EvaluationContext, count: int) -> list[Any]:
    rng = generator(0, "points")
    return [bench.space.sample(rng) for _ in range(count)]


class TestEveryObjective:
    def test_is_an_objective(self, objective: Objective) -> None:
        assert isinstance(objective, Objective)
        assert objective.part in ("shared", "exclusive")

    def test_measures_finite_numbers(self, objective: Objective, bench: EvaluationContext) -> None:
        for genotype in points(bench, 3):
            value, extra = objective.measure(genotype)
            assert math.isfinite(value)
            assert value > 0
            json.dumps(dict(extra), allow_nan=False)

    def test_identity_is_plain_and_stable(self, objective: Objective, bench: EvaluationContext) -> None:
        text = json.dumps(dict(objective.identity(bench)), sort_keys=True)
        assert text == json.dumps(dict(objective.identity(bench)), sort_keys=True)
        assert json.loads(text)["version"] >= 1

    def test_depends_on_the_genotype(self, objective: Objective, bench: EvaluationContext) -> None:
        small, _ = objective.measure(bench.space.smallest())
        large, _ = objective.measure(bench.space.largest())
        if objective.name == "error":
            assert small != large
        else:
            assert small < large

    def test_shared_values_repeat_exactly(self, objective: Objective, bench: EvaluationContext) -> None:
        first, second, *_ = points(bench, 2)
        if objective.part == "shared":
            value = objective.measure(first)
            objective.measure(second)
            assert objective.measure(first) == value


def test_error_is_the_tasks_metric_of_the_supernet(bench: EvaluationContext) -> None:
    error: Objective = build(OBJECTIVES["error"])
    error.prepare(bench)
    [genotype] = points(bench, 1)
    value, extra = error.measure(genotype)
    meter = bench.task.meter()
    with torch.inference_mode():
        for batch in bench.batches:
            meter.update(bench.supernet(batch["image"], genotype), batch)
    assert value == meter.compute()["abs_rel"]
    assert extra["metrics"]["abs_rel"] == value
    assert sum(len(batch["image"]) for batch in bench.batches) == 5


def test_costs_are_those_of_the_extracted_network(bench: EvaluationContext) -> None:
    params: Objective = build(OBJECTIVES["params"])
    macs: Objective = build(OBJECTIVES["macs"])
    params.prepare(bench)
    macs.prepare(bench)
    for genotype in points(bench, 3):
        counted = count_costs(extract(bench.supernet, genotype), bench.input_size)
        assert params.measure(genotype)[0] == counted["params"] / 1e6
        assert macs.measure(genotype)[0] == counted["macs"] / 1e9


def test_latency_keeps_spread_and_machine(bench: EvaluationContext) -> None:
    latency: Objective = build({**OBJECTIVES["latency"], "min_repeats": 4, "max_repeats": 6})
    latency.prepare(bench)
    before = torch.get_num_threads()
    value, extra = latency.measure(bench.space.largest())
    assert 4 <= extra["latency"]["repeats"] <= 6
    assert extra["latency"]["p10_ms"] <= value <= extra["latency"]["p90_ms"]
    assert extra["latency"]["cv"] >= 0
    assert extra["device"] == machine(torch.device("cpu"))
    assert torch.get_num_threads() == before


class TestEvaluator:
    def spec(self, trained: Path, **changes: Any) -> dict[str, Any]:
        return {
            "_target_": "evonas.objectives.evaluator.Evaluator",
            "_recursive_": False,
            "space": SPACE,
            "network": NETWORK,
            "task": TASK,
            "objectives": OBJECTIVES,
            "weights": str(trained),
            "batch_size": 2,
            **changes,
        }

    def jobs(self, bench: EvaluationContext) -> list[Job]:
        asked, parts = points(bench, 3), ("shared", "exclusive")
        return [Job(seq, point, part) for part in parts for seq, point in enumerate(asked)]  # type: ignore[arg-type]

    def test_is_an_evaluator(self, trained: Path) -> None:
        assert isinstance(build(self.spec(trained)), EvaluatorLike)

    def test_worker_and_process_agree_bit_for_bit(self, trained: Path, bench: EvaluationContext) -> None:
        def shared(engine: Any) -> dict[Genotype, Mapping[str, float]]:
            try:
                outcomes = list(engine.run(self.jobs(bench)))
            finally:
                engine.close()
            assert all(outcome.measurement for outcome in outcomes), [outcome.reason for outcome in outcomes]
            assert {key for outcome in outcomes for key in outcome.measurement.objectives} == set(OBJECTIVES)
            return {o.job.genotype: o.measurement.objectives for o in outcomes if o.job.part == "shared"}

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            here = shared(InlineEngine(self.spec(trained)))
        finally:
            torch.set_num_threads(threads)
        assert here == shared(LocalEngine(self.spec(trained), workers=1))

    def test_fingerprints_need_no_network(self, trained: Path) -> None:
        evaluator: Evaluator = build(self.spec(trained))
        assert evaluator.fingerprint("shared") != evaluator.fingerprint("exclusive")
        assert "supernet" not in vars(evaluator._context)
        assert "batches" not in vars(evaluator._context)

    @pytest.mark.parametrize(
        ("change", "changes_shared", "changes_exclusive"),
        [
            ({"batch_size": 4}, True, False),
            ({"precision": "bf16-mixed"}, True, True),
            ({"network": {**NETWORK, "stem_dim": 16}}, True, True),
            ({"space": {**SPACE, "expand": [0.5, 1]}}, True, True),
            ({"task": {**TASK, "data": {**TASK["data"], "validation": 6}}}, True, False),  # type: ignore[dict-item]
            ({"task": {**TASK, "data": {**TASK["data"], "train": 3}}}, False, False),  # type: ignore[dict-item]
            ({"objectives": {**OBJECTIVES, "latency": {**OBJECTIVES["latency"], "threads": 2}}}, False, True),
        ],
    )
    def test_what_a_fingerprint_depends_on(
        self, trained: Path, change: dict[str, Any], changes_shared: bool, changes_exclusive: bool
    ) -> None:
        before: Evaluator = build(self.spec(trained))
        after: Evaluator = build(self.spec(trained, **change))
        assert (before.fingerprint("shared") != after.fingerprint("shared")) == changes_shared
        assert (before.fingerprint("exclusive") != after.fingerprint("exclusive")) == changes_exclusive

    def test_other_weights_are_other_facts(self, trained: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy.safetensors"
        shutil.copy(trained, copy)
        same: Evaluator = build(self.spec(copy))
        assert same.fingerprint("shared") == build(self.spec(trained)).fingerprint("shared")
        altered = {name: tensor + 1 for name, tensor in weights.load(trained).items()}
        weights.save(copy, altered)
        other: Evaluator = build(self.spec(copy))
        assert other.fingerprint("shared") != same.fingerprint("shared")
