"""Subnets measured together get the bits that each gets alone, as a network of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas import weights
from evonas.data.loading.batches import order
from evonas.errors import UserError
from evonas.evaluate.engine import BatchEvaluator
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.objectives.evaluator import Evaluator
from evonas.space.genotype import Genotype
from evonas.supernets.prefix import PrefixExecutor
from evonas.supernets.supernet import Supernet, extract
from evonas.tasks.base import predict

SPACE = {
    "_target_": "evonas.supernets.evonet.space.evonet_space",
    "name": "tiny",
    "mlp_ratio": [1, 2],
    "d_state": [4, 8],
    "expand": [1, 2],
    "depths": [1, 2, 2, 2],
}
NETWORK = {
    "_target_": "evonas.supernets.evonet.family.EvoNet",
    "dims": [8, 16, 16, 16],
    "heads": [2, 2, 2, 2],
    "stem_dim": 8,
    "stem_ratio": 1.0,
    "merge_ratio": 1.0,
}
SCENES = {
    "_target_": "evonas.data.synthetic.scenes.SyntheticScenes",
    "train": 4,
    "validation": 5,
    "test": 1,
    "height": 32,
    "width": 64,
}
LIGHT = {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True, "width": 8}
DEPTH = {
    "_target_": "evonas.tasks.depth.Depth",
    "name": "synthetic",
    "max_depth": 20.0,
    "head": LIGHT,
    "data": SCENES,
}
TASKS: dict[str, dict[str, Any]] = {
    "depth": DEPTH,
    "flip test": {**DEPTH, "flip_test": True},
    "depth by the published head": {
        **DEPTH,
        "head": {"_target_": "evonas.nn.topdown.SASFDecoder", "_partial_": True, "pool_sizes": [2, 1]},
    },
    "classification": {
        "_target_": "evonas.tasks.classification.Classification",
        "name": "shapes",
        "head": {"_target_": "evonas.nn.classifier.Classifier", "_partial_": True},
        "data": {
            "_target_": "evonas.data.synthetic.shapes.Shapes",
            "train": 4,
            "validation": 5,
            "test": 1,
            "height": 32,
            "width": 32,
        },
    },
}
BATCH = 2
Answer = tuple[float, Mapping[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)
    _trained.cache_clear()


@lru_cache
def _trained(task: str, precision: str, folder: Path) -> EvaluationContext:
    """Random weights, with batch-norm statistics that are no identity."""
    path = folder / f"{task}.safetensors"
    made = EvaluationContext(SPACE, NETWORK, TASKS[task], path)
    net = Supernet(made.family, made.head)
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    weights.save(path, net.state_dict())
    return EvaluationContext(SPACE, NETWORK, TASKS[task], path, BATCH, precision=precision)


def _error(bench: EvaluationContext, recalibrated: int = 0) -> Error:
    made = Error(recalibrated)
    made.prepare(bench)
    return made


def _bundle(bench: EvaluationContext, seed: int, size: int) -> list[Genotype]:
    """Relatives of one genotype, as in a search that has converged, with repetitions."""
    rng = np.random.default_rng(seed)
    space, parent = bench.space, bench.space.sample(rng)
    found = []
    for _ in range(size):
        vector = space.to_vector(parent)
        for at in rng.integers(len(vector), size=rng.integers(4)):
            vector[at] = int(rng.integers(space.cardinalities[at]))
        found.append(space.repair(vector, rng))
    return found


@torch.inference_mode()
def _alone(
    bench: EvaluationContext,
    genotype: Genotype,
    batches: Sequence[Mapping[str, torch.Tensor]],
    recalibrated: int = 0,
) -> dict[str, float]:
    """The metrics of a network of its own, without anything that objectives do."""
    net, meter = extract(bench.supernet, genotype).eval(), bench.task.meter()
    with bench.autocast():
        if recalibrated:
            calibrate_batch_norm(net, bench.calibration(recalibrated))
    for batch in batches:
        with bench.autocast():
            output = predict(bench.task, net, batch["image"])
        meter.update(output.float(), batch)
    return meter.compute()


@pytest.mark.parametrize(
    ("task", "precision"), [*((task, "32-true") for task in TASKS), ("flip test", "bf16-mixed")]
)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 3))
def test_together_equals_alone(task: str, precision: str, folder: Path, seed: int, size: int) -> None:
    bench = _trained(task, precision, folder)
    error, bundle = _error(bench), _bundle(bench, seed, size)
    for genotype, answer in zip(bundle, error.measure_together(bundle), strict=True):
        alone = _alone(bench, genotype, bench.batches)
        assert answer == (alone[bench.task.error_name], {"metrics": alone})
    assert error.measure(bundle[0]) == error.measure_together(bundle)[0]


@pytest.mark.parametrize(
    ("task", "precision"), [*((task, "32-true") for task in TASKS), ("depth", "bf16-mixed")]
)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_statistics_of_their_own_are_those_of_each_alone(
    task: str, precision: str, folder: Path, seed: int
) -> None:
    bench = _trained(task, precision, folder)
    shared = {name: buffer.clone() for name, buffer in bench.network.named_buffers()}
    bundle = _bundle(bench, seed, 3)
    for genotype, answer in zip(bundle, _error(bench, 4).measure_together(bundle), strict=True):
        alone = _alone(bench, genotype, bench.batches, 4)
        assert answer == (alone[bench.task.error_name], {"metrics": alone})
    assert all(torch.equal(buffer, shared[name]) for name, buffer in bench.network.named_buffers())


def test_statistics_are_remembered_and_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _trained("depth", "32-true", folder)
    error, bundle = _error(bench, 4), list(dict.fromkeys(_bundle(bench, 8, 8)))
    few, ran = error.measure_together(bundle[:2], 2), []
    with bench.network.backbone.stem.register_forward_hook(lambda *_: ran.append(1)):
        again = error.measure_together(bundle, 2)
        assert len(ran) == len(bench.calibration(4)) + 1
        assert error.measure_together(bundle, 2) == again and again[:2] == few
        assert len(ran) == len(bench.calibration(4)) + 2
        monkeypatch.setattr("evonas.objectives.error.REMEMBERED", 1)
        assert error.measure_together(bundle, 2) == again
        assert len(ran) == 2 * len(bench.calibration(4)) + 3
    assert _error(bench, 4).measure_together(bundle, 2) == again


def test_a_step_that_is_repeated_is_learnt_once(folder: Path) -> None:
    bench = _trained("depth", "32-true", folder)
    error, bundle = _error(bench, 4), _bundle(bench, 7, 5)
    expected, told = error.measure_together(bundle), []

    def refuse_once(*_: Any) -> None:
        told.append(1)
        if len(told) == 2:
            raise MemoryError("no room")

    with bench.network.head.register_forward_pre_hook(refuse_once):
        assert error.measure_together(bundle) == expected


@pytest.mark.parametrize(("task", "recalibrated"), [("depth", 0), ("flip test", 0), ("depth", 4)])
@settings(max_examples=2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_every_step_is_computed_once_a_batch(task: str, recalibrated: int, folder: Path, seed: int) -> None:
    bench = _trained(task, "32-true", folder)
    # the driver sorts the genotypes of a pass by their paths
    error, bundle = _error(bench, recalibrated), sorted(_bundle(bench, seed, 6), key=bench.family.path)
    trunk, looks = bench.network.backbone, 2 if task == "flip test" else 1
    ran = {"stem": 0, "blocks": 0}
    blocks = [block for stage in trunk.stages for block in stage.blocks.values()]
    hooks = [trunk.stem.register_forward_hook(_counting(ran, "stem"))]
    hooks += [block.register_forward_hook(_counting(ran, "blocks")) for block in blocks]
    try:
        error.measure_together(bundle)
    finally:
        for hook in hooks:
            hook.remove()
    paths = {bench.family.path(genotype) for genotype in bundle}
    prefixes = {each[:length] for each in paths for length in range(1, len(each) + 1)}
    distinct = sum(1 for prefix in prefixes if prefix[-1].label)
    passes = looks * len(bench.batches) + len(bench.calibration(recalibrated))
    assert ran == {"stem": passes, "blocks": passes * distinct}


def _counting(ran: dict[str, int], name: str) -> Callable[..., None]:
    def count(*_: Any) -> None:
        ran[name] += 1

    return count


def test_a_walk_keeps_one_path_and_ends_with_none(folder: Path) -> None:
    bench = _trained("depth", "32-true", folder)
    bundle = sorted(set(_bundle(bench, 0, 12)), key=bench.family.path)
    walk, images = PrefixExecutor(bench.network), bench.batches[0]["image"]
    longest = max(len(bench.family.path(each)) for each in bundle)
    for own, after in zip(bundle, [*bundle[1:], None], strict=True):
        walk.subnet(own, after)(images)
        assert all(len(cache.reached) < longest for cache in walk._caches.values())
    assert not walk.holds_maps


def test_other_images_are_never_mistaken_for_the_same(folder: Path) -> None:
    bench = _trained("depth", "32-true", folder)
    own = bench.space.largest()
    walk, (first, second, _) = PrefixExecutor(bench.network), [batch["image"] for batch in bench.batches]
    with torch.inference_mode():
        walk.subnet(own, own)(first)
        found = walk.subnet(own)(second)
        assert torch.equal(found, bench.supernet(second, bench.space.largest()))


class TestTheEvaluator:
    def made(self, bench: EvaluationContext, **changes: Any) -> Evaluator:
        objectives = {
            "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
            "error": {"_target_": "evonas.objectives.error.Error"},
        }
        arguments = {"space": SPACE, "network": NETWORK, "task": bench._task_config, **changes}
        evaluator = Evaluator(
            **arguments, objectives=objectives, weights=str(bench.path), batch_size=bench.batch_size
        )
        evaluator.setup()
        return evaluator

    def test_answers_are_those_of_measure(self, folder: Path) -> None:
        bench = _trained("depth", "32-true", folder)
        evaluator = self.made(bench)
        assert isinstance(evaluator, BatchEvaluator)
        points = [*_bundle(bench, 1, 5)]
        points += points[:2]
        together = evaluator.measure_together(points, "shared")
        assert together == [evaluator.measure(point, "shared") for point in points]
        assert list(together[0].objectives) == ["macs", "error"]
        assert evaluator.measure_together([], "shared") == []

    def test_a_bad_genotype_fails_in_its_own_place(self, folder: Path) -> None:
        bench = _trained("depth", "32-true", folder)
        evaluator, space = self.made(bench), bench.space
        good = [space.parse(text[:-2] + "10") for text in map(space.format, _bundle(bench, 3, 4))]
        expected = [evaluator.measure(point, "shared") for point in good]
        stage = evaluator._context.network.backbone.stages[3].blocks["1"]
        bad = space.parse(space.format(good[0])[:-2] + "11")
        mixed = [good[0], bad, Genotype("tiny", (99,)), *good[1:], bad]
        with torch.no_grad():
            stage.mlp.fc2.weight.fill_(torch.nan)
        found = evaluator.measure_together(mixed, "shared")
        assert [each for each in found if not isinstance(each, Exception)] == expected
        assert [str(each) for each in (found[1], found[-1])] == ["the subnet's output is not finite"] * 2
        with pytest.raises(ValueError, match="not finite"):
            evaluator.measure(bad, "shared")
        assert isinstance(found[2], Exception)

    def test_a_part_that_raises_fails_only_who_uses_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = _trained("depth", "32-true", folder)
        evaluator, space = self.made(bench), bench.space
        bundle = _bundle(bench, 4, 6)
        expected = [evaluator.measure(point, "shared") for point in bundle]
        block = evaluator._context.network.backbone.stages[1].blocks["0"]
        monkeypatch.setattr(block, "forward", _refusing(block.forward))
        found = evaluator.measure_together(bundle, "shared")
        refused = [space.decode(point)["d2"][0] for point in bundle]
        assert set(refused) == {True, False}
        for answer, right, is_refused in zip(found, expected, refused, strict=True):
            assert str(answer) == "no room" if is_refused else answer == right

    def test_memory_that_others_hold_is_given_back_first(self, folder: Path) -> None:
        bench = _trained("depth", "32-true", folder)
        evaluator = self.made(bench)
        bundle = _bundle(bench, 5, 4)
        expected = [evaluator.measure(point, "shared") for point in bundle]
        head, told = evaluator._context.network.head, []

        def refuse_once(*_: Any) -> None:
            told.append(1)
            if len(told) == 2:
                raise MemoryError("no room")

        with head.register_forward_pre_hook(refuse_once):
            assert evaluator.measure_together(bundle, "shared") == expected


def _refusing(_: Any) -> Callable[..., torch.Tensor]:
    def refuse(*_: Any) -> torch.Tensor:
        raise RuntimeError("no room")

    return refuse


class TestSomeImages:
    @pytest.mark.parametrize(
        ("task", "number"), [("depth", 1), ("flip test", 3), ("classification", 4), ("depth", 9)]
    )
    def test_are_a_split_of_their_own(self, task: str, number: int, folder: Path) -> None:
        bench = _trained(task, "32-true", folder)
        whole = bench.task.dataset("holdout")
        chosen = [whole[index] for index in order(len(whole))[:number]]
        batches = [
            torch.utils.data.default_collate(chosen[start : start + BATCH])
            for start in range(0, len(chosen), BATCH)
        ]
        bundle = _bundle(bench, number, 2)
        for genotype, (value, facts) in zip(
            bundle, _error(bench).measure_together(bundle, number), strict=True
        ):
            alone = _alone(bench, genotype, batches)
            assert (value, facts["metrics"]) == (alone[bench.task.error_name], alone)
            assert sum(facts["error_sizes"]) == len(chosen)
            assert value == pytest.approx(np.mean(facts["errors"]), rel=1e-12)

    def test_errors_of_few_begin_those_of_many(self, folder: Path) -> None:
        bench = _trained("depth", "32-true", folder)
        error, [genotype] = _error(bench), _bundle(bench, 0, 1)
        few, more = (error.measure_together([genotype], number)[0][1]["errors"] for number in (2, 4))
        assert len(few) == 2 and more[:2] == few

    def test_errors_are_those_of_batches_where_no_image_has_one(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = _trained("depth", "32-true", folder)
        monkeypatch.setattr(type(bench.task), "error_is_mean", False)
        [(_, facts)] = _error(bench).measure_together(_bundle(bench, 0, 1), 3)
        assert facts["error_sizes"] == [2, 1]
        assert len(facts["errors"]) == 2
        assert "errors" not in _error(bench).measure_together(_bundle(bench, 0, 1))[0][1]

    def test_images_without_truth_have_no_error(self, folder: Path) -> None:
        bench = _trained("depth", "32-true", folder)
        error, bundle = _error(bench), _bundle(bench, 0, 2)
        position = order(5)[1]
        valid = bench.batches[position // BATCH]["valid"][position % BATCH]
        before = valid.clone()
        valid.zero_()
        try:
            answers = error.measure_together(bundle, 3)
        finally:
            valid.copy_(before)
        assert [facts["error_sizes"] for _, facts in answers] == [[1, 1]] * 2

    def test_less_than_one_is_refused(self, folder: Path) -> None:
        with pytest.raises(UserError, match="at least 1, got 0"):
            _error(_trained("depth", "32-true", folder)).measure_together([], 0)

    def test_make_other_facts_than_all(self, folder: Path) -> None:
        bench = _trained("depth", "32-true", folder)
        evaluator = TestTheEvaluator().made(bench)
        prints = [evaluator.fingerprint("shared", images) for images in (None, 2, 3, 5)]
        assert len(set(prints)) == 4
        assert evaluator.fingerprint("shared") == prints[0]
        assert evaluator.num_images == 5
