"""The error in int8 is what ONNX Runtime computes, and tells networks that quantise badly."""

import json
from typing import Any

import pytest
import small_stages
import torch

from evonas import weights
from evonas.archive import Archive
from evonas.errors import UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.error import Error
from evonas.objectives.error_int8 import ErrorInt8
from evonas.report.archive_reader import read
from evonas.report.results import measured_with
from evonas.run import Run
from evonas.runtimes.onnxruntime import OnnxRuntime
from evonas.runtimes.quantisation import Quantisation
from evonas.stages.base import Context
from evonas.stages.build.evaluator import evaluator_config
from evonas.stages.build.factory import SUPERNET
from evonas.stages.pretrain import Pretrain
from evonas.stages.search import ARCHIVE, Search
from evonas.stages.supernet import Supernet

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("one_thread")

RUN = (
    "+task=synthetic",
    "network=resnet10t",
    "data.height=64",
    "data.width=64",
    "data.train=8",
    "data.validation=6",
    "sampler=none",
    "distill=none",
    "tracker=none",
    "objective=[error_int8,macs]",
    "train.bn_calibration_images=8",
    "runtime.int8.images=8",
    "hardware.workers=1",
    "budget={population: 4, evaluations: 4}",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A supernet with random weights."""
    folder = tmp_path_factory.mktemp("run")
    made = Context(small_stages.composed_alone(*RUN), Run(folder, "synthetic"))
    Pretrain().run(made)
    Supernet().run(made)
    return made


def bench(run: Any, **changes: Any) -> EvaluationContext:
    spec = evaluator_config(run)
    keys = {"path": run.run.directory / SUPERNET, "batch_size": 4, **changes}
    return EvaluationContext(spec["space"], spec["network"], spec["task"], **keys)


def error_int8(context: EvaluationContext, images: int | None = None, **settings: Any) -> ErrorInt8:
    runtime = OnnxRuntime(int8=Quantisation(**{"images": 8, **settings}))
    made = ErrorInt8(runtime, images, bn_calibration_images=8)
    made.prepare(context)
    return made


def error(context: EvaluationContext) -> Error:
    made = Error(8)
    made.prepare(context)
    return made


def test_it_is_near_the_error_in_float_and_not_equal(run: Any) -> None:
    context = bench(run)
    point = context.space.largest()
    (value, facts), expected = error_int8(context).measure(point), error(context).measure(point)[0]
    assert value != expected and value == pytest.approx(expected, rel=0.1)
    assert facts["metrics_int8"][context.task.error_name] == value
    small = error_int8(context).measure(context.space.smallest())[1]
    assert small["int8"]["mb"] < facts["int8"]["mb"]


def test_it_does_not_depend_on_what_was_measured_before(run: Any) -> None:
    context = bench(run)
    objective, points = error_int8(context), [context.space.largest(), context.space.smallest()]
    together = objective.measure_together([*points, points[0]], images=2)
    assert together == [*map(objective.measure, points), together[0]]


def test_a_wide_channel_costs_error_in_int8_and_none_in_float(run: Any, tmp_path: Any) -> None:
    plain = bench(run)
    point = plain.space.largest()
    # a ReLU is between them, so that the second makes up for the first
    state = plain.supernet.state_dict()
    wide = {key: each.clone() for key, each in state.items()}
    [norm] = [key for key in wide if key.endswith("layer2.0.bn1.weight")]
    for key in (norm, norm.replace("weight", "bias")):
        wide[key][0] *= 1000
    wide[norm.replace("bn1", "conv2")][:, 0] /= 1000
    weights.save(tmp_path / "wide.safetensors", wide)
    context = bench(run, path=tmp_path / "wide.safetensors")
    expected = error(plain).measure(point)[0]
    assert error(context).measure(point)[0] == pytest.approx(expected, rel=1e-4)

    def lost(where: EvaluationContext, **settings: Any) -> float:
        return abs(error_int8(where, **settings).measure(point)[0] - expected)

    kept = ["backbone.net.layer2.0"]
    assert lost(context) > 5 * max(lost(plain), lost(context, keep_float=kept))


def test_the_first_images_may_do(run: Any) -> None:
    context = bench(run)
    point = context.space.smallest()
    few, whole = error_int8(context, images=2), error_int8(context)
    assert few.measure(point)[0] != whole.measure(point)[0]
    assert few.identity(context) != whole.identity(context)


def test_what_it_depends_on_is_in_its_identity(run: Any) -> None:
    context = bench(run)
    known = error_int8(context).identity(context)
    json.dumps(known, allow_nan=False)
    for change in ({"images": 3}, {"keep_float": ["head"]}, {"calibration": "percentile"}):
        assert error_int8(context, **change).identity(context) != known
    # it is int8 with one thread whatever the latency is measured in
    assert (
        ErrorInt8(OnnxRuntime("fp32", 4, 2, int8=Quantisation(images=8)), None, 8).identity(context) == known
    )


@pytest.mark.parametrize("name", ["head", "first", "backbone.net.layer2.0.conv2"])
def test_known_layers_are_taken(run: Any, name: str) -> None:
    error_int8(bench(run), keep_float=[name])


def test_unknown_layers_are_refused_with_near_ones(run: Any) -> None:
    with pytest.raises(UserError, match=r"no network has a layer called 'backbone\.net\.layer9'") as caught:
        error_int8(bench(run), keep_float=["backbone.net.layer9"])
    assert "backbone.net.layer" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "objective.error_int8.images must be at least 1, got 0"),
        ({"bn_calibration_images": -1}, "bn_calibration_images must not be negative, got -1"),
        ({"runtime": "onyx"}, "runtime=onyx is unknown"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ErrorInt8(**settings)


def test_a_runtime_without_int8_is_refused(run: Any) -> None:
    objective = ErrorInt8("torch")
    with pytest.raises(UserError, match=r"runtime=torch computes in .*, not in int8"):
        objective.prepare(bench(run))


def test_a_search_minimises_it_and_people_read_the_metric(run: Any) -> None:
    Search().run(run)
    with Archive.read(run.run.directory / ARCHIVE) as archive:
        assert all(each.state == "done" for each in archive.evaluations())
    found = read(run.run.directory / ARCHIVE)
    assert found.names == ("error_int8", "macs")
    assert found.metrics[0].name == "AbsRel_int8"
    # no latency was measured
    assert measured_with(found) == []
    assert torch.equal(torch.tensor(found.shown[:, 0]), torch.tensor(found.values[:, 0]))
