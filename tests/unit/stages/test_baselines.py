"""stage=baselines on a tiny run: what is trained, how long, and what is measured."""

from pathlib import Path
from typing import Any

import pytest
import small_stages
import timm
import torch

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.report.analysis.baseline_gain import BASELINES, gain_in
from evonas.space.genes import Axis
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.baselines import Baselines
from evonas.stages.build import factory
from evonas.stages.evaluate import Evaluate
from evonas.stages.networks.baselines import baselines, parse, spread, uniform
from evonas.stages.run import Pipeline
from evonas.stages.teacher import Teacher
from evonas.supernets.supernet import extract

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = (
    "data.train=8",
    "data.validation=4",
    "data.test=2",
    "train.supernet.batch_size=4",
    "train.retrain.batch_size=4",
    "train.retrain.epochs=1",
    "train.baseline_budgets=[total,retrain]",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 1}]",
    "objective.latency.max_seconds=0.05",
    "objective.latency.warmup_seconds=0.05",
)


def context(folder: Path, *overrides: str, resume: bool = False) -> Context:
    made = small_stages.context(folder, *OPTIONS, *overrides, resume=resume)
    supernet = made.run.path(factory.SUPERNET)
    if not supernet.exists():
        weights.save(supernet, factory.supernet(made.setup).state_dict())
    return made


def selected(made: Context) -> None:
    """One selected and retrained network, slower and worse than any baseline."""
    text = made.setup.space.format(made.setup.space.largest())
    net = {"name": "max", "genotype": text, "objectives": {"error": 9.0, "latency": 1e6, "macs": 1e3}}
    files.write_json(made.run.path("selected.json"), {"error_name": "abs_rel", "nets": [net]})
    result = {"name": "max", "genotype": text, "seconds": 1.0, "steps": 2, "inherited": {"abs_rel": 9.0}}
    result |= {"retrained": {"abs_rel": 8.0}, "scratch": None}
    files.write_json(made.run.path("retrain/max/result.json"), result)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, str]:
    context_ = context(
        tmp_path_factory.mktemp("runs"), "baselines=[timm:resnet10t,'uniform:1','resolution:1']"
    )
    selected(context_)
    return context_, Baselines().run(context_)


def found(made: Context) -> dict[str, Any]:
    return dict(files.read_json(made.run.need(BASELINES, made_by="baselines")))


def test_each_is_trained_as_long_as_a_selected_network_in_all_and_as_the_retraining(made: Any) -> None:
    whole = found(made[0])
    assert (whole["supernet_steps"], whole["retrain_steps"], whole["budget"]) == (2, 2, "total")
    assert whole["steps"] == {"total": 4, "retrain": 2}
    assert [each["name"] for each in whole["networks"]] == ["resnet10t", "uniform1", "resolution1"]
    for each in whole["networks"]:
        assert {name: row["steps"] for name, row in each["trained"].items()} == {"total": 4, "retrain": 2}
        folder = made[0].run.directory / "baselines" / each["name"]
        assert files.read_json(folder / "result.json") == each
        assert {path.name for path in folder.glob("*.safetensors")} == {
            "model.safetensors",
            "retrain.safetensors",
        }


def test_they_are_measured_by_the_searchs_objectives(made: Any) -> None:
    for each in found(made[0])["networks"]:
        metrics = each["trained"]["total"]["metrics"]
        assert each["objectives"]["error"] == metrics["abs_rel"]
        assert each["objectives"]["latency"] > 0
        assert each["measured"]["latency"]["reference_ms"] > 0
        assert each["costs"] == {"params": each["params"] / 1e6, "macs": each["macs"] / 1e9}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("timm:resnet10q", "names timm:resnet10q, which timm"),
        ("timm:resnet10t@nowhere.pth", "weights=nowhere.pth is not a file"),
        ("uniform:x", "is not understood"),
    ],
)
def test_a_pipeline_refuses_a_baseline_before_anything_is_trained(
    tmp_path: Path, entry: str, said: str
) -> None:
    made, pipeline = context(tmp_path, f"baselines=['{entry}']"), Pipeline({"teacher": {}, "baselines": {}})
    # an empty config is no stage: the first stage to be built would raise something else
    with pytest.raises(UserError, match=said):
        pipeline.run(made)


def test_a_pipeline_refuses_the_weights_of_another_network_before_anything_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    weights.save(file, timm.create_model("mobilenetv3_small_050").state_dict())
    made = context(tmp_path, f"baselines=['timm:resnet10t@{file}']")
    with pytest.raises((UserError, DataError), match=r"other\.safetensors"):
        Pipeline({"teacher": {}, "baselines": {}}).run(made)


def test_smaller_images_cost_less(made: Any) -> None:
    context_, networks = made[0], {each["name"]: each for each in found(made[0])["networks"]}
    assert networks["resolution1"]["size"] < list(context_.setup.task.input_size)
    assert networks["resolution1"]["genotype"] == context_.setup.space.format(context_.setup.space.largest())


def test_the_command_ends_with_what_the_search_gained(made: Any) -> None:
    assert made[1].startswith(
        "The search gained nothing over the baselines at equal latency: of 1 compared networks"
    )
    gain = gain_in(made[0].run.directory)
    # a stage of its own sees the selection of the run that `inputs=` names
    assert gain_in(made[0].run.directory / "elsewhere", made[0].run.directory) == gain
    assert gain is not None and gain.cost == "latency" and gain.num_better == 0
    table = made[0].run.need("baselines/baselines.csv", made_by="baselines").read_text().splitlines()
    assert table[0] == "network,kind,error,params,macs,latency,baselines_error,gain"
    assert [line.split(",")[0] for line in table[1:]] == ["resnet10t", "uniform1", "resolution1", "max"]


def test_the_test_split_scores_each_training(made: Any) -> None:
    Evaluate().run(made[0])
    test = files.read_json(made[0].run.need("evaluate/test.json", made_by="evaluate"))
    assert [each["name"] for each in test["baselines"]] == ["resnet10t", "uniform1", "resolution1"]
    for each in test["baselines"]:
        assert set(each["trained"]) == {"total", "retrain"}
        assert each["trained"]["total"] != each["trained"]["retrain"]
        assert each["macs"] > 0 and each["objectives"]["latency"] > 0


def test_a_second_attempt_trains_nothing_again(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    again = context(
        made[0].run.directory, "baselines=[timm:resnet10t,'uniform:1','resolution:1']", resume=True
    )
    before = found(again)
    monkeypatch.setattr("evonas.stages.training.setup.TrainingSetup.fit", None)
    Baselines().run(again)
    assert found(again) == before


def test_equal_seeds_make_equal_weights(made: Any, tmp_path: Path) -> None:
    other = context(tmp_path, "baselines=[timm:resnet10t]", "train.baseline_budgets=[retrain]")
    Baselines().run(other)
    ours = weights.load(made[0].run.directory / "baselines/resnet10t/retrain.safetensors")
    theirs = weights.load(tmp_path / "baselines/resnet10t/model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_weights_file_is_loaded_and_recorded(tmp_path: Path) -> None:
    file = tmp_path / "given.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), file)
    (baseline,) = baselines(context(tmp_path / "run", f"baselines=['timm:resnet10t@{file}']"))
    built = baseline.build("test")
    assert baseline.name == "resnet10t-pretrained"
    assert built.origin is not None and built.origin.sha256 == files.sha256(file)
    assert "matched by name" in built.matched


def test_a_missing_file_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights=nowhere\.pth is not a file"):
        list(baselines(context(tmp_path, "baselines=[{timm: resnet10t, weights: nowhere.pth}]")))


def test_entries_are_read_in_all_their_forms() -> None:
    entries = [
        "timm:resnet10t",
        "timm:a.b@x/y.pth",
        {"timm": "c", "weights": "z"},
        "uniform:4",
        "resolution:2",
    ]
    assert parse(entries) == [
        {"timm": "resnet10t", "weights": None},
        {"timm": "a.b", "weights": "x/y.pth"},
        {"timm": "c", "weights": "z"},
        {"kind": "uniform", "count": 4},
        {"kind": "resolution", "count": 2},
    ]


@pytest.mark.parametrize("entry", ["resnet10t", "uniform:0", "uniform", {"name": "x"}, 3])
def test_what_is_no_entry_is_named(entry: Any) -> None:
    with pytest.raises(UserError, match="is not understood"):
        parse([entry])


def test_one_name_may_not_stand_twice() -> None:
    with pytest.raises(UserError, match="twice"):
        parse(["timm:resnet10t", "timm:resnet10t"])


def test_an_unknown_model_is_answered_with_similar_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="timm:resnet10x") as caught:
        list(baselines(context(tmp_path, "baselines=[timm:resnet10x]")))
    assert "resnet10t" in caught.value.hint


def test_uniform_scaling_reaches_from_the_smallest_to_the_largest(tmp_path: Path) -> None:
    space = context(tmp_path).setup.space
    assert uniform(space, 0.0) in (None, space.smallest())
    assert uniform(space, 1.0) == space.largest()
    half = uniform(space, 0.5)
    assert half is not None and space.contains(half)


def test_uniform_scaling_leaves_the_images_as_they_are() -> None:
    sides, widths = Axis("r1", (0.5, 1.0)), Axis("e1", (0.25, 0.5, 1.0))
    space = Space("toy", (sides, widths), groups={"resolution": ["r"]})
    assert uniform(space, 0.0) == space.encode({"r1": 1.0, "e1": 0.25})


def test_scaled_networks_start_from_the_weights_that_the_supernet_started_from(tmp_path: Path) -> None:
    made = context(tmp_path, "baselines=['uniform:1','resolution:1']")
    assert all(each.build("some").origin is None for each in baselines(made))
    started = factory.supernet(made.setup, "elsewhere")
    path = made.run.path("pretrain/supernet.safetensors")
    weights.save(path, started.state_dict(), {"source": "model.pth"})
    for each in baselines(made):
        built = each.build("some")
        assert built.origin is not None and built.origin.sha256 == weights.digest(path)
        want = extract(started, made.setup.space.parse(str(each.about["genotype"]))).state_dict()
        got = built.net.state_dict()
        assert all(torch.equal(got[name], want[name]) for name in want)


def test_costs_are_spread_evenly_in_their_logarithm() -> None:
    assert spread([1.0, 2.0, 4.0, 8.0, 16.0, 64.0], 1.0, 64.0, 4) == [0, 2, 4, 5]
    assert spread([1.0, 2.0], 1.0, 2.0, 4) == [0, 1]


def test_a_teacher_starts_from_a_weights_file_and_has_costs(tmp_path: Path) -> None:
    file = tmp_path / "start.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), file)
    words = (
        "train.teacher.epochs=1",
        "train.teacher.batch_size=4",
        f"teacher.weights={file}",
        "baselines=[]",
    )
    made = context(tmp_path / "run", *words)
    Teacher().run(made)
    start = files.read_json(made.run.need("teacher/result.json", made_by="teacher"))["start"]
    assert start["sha256"] == files.sha256(file) and not start["random"]
    assert "matched by name" in start["matched"]
    # the trained teacher needs its start no more
    file.unlink()
    selected(made)
    Evaluate().run(made)
    costs = files.read_json(made.run.need("evaluate/test.json", made_by="evaluate"))["teacher_costs"]
    assert costs["params"] > 0 and costs["macs"] > 0 and costs["objectives"]["latency"] > 0


def test_a_teachers_file_of_another_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "start.pth"
    torch.save(timm.create_model("resnet18").state_dict(), file)
    with pytest.raises(DataError, match=r"teacher\.weights=.* does not hold timm:resnet10t"):
        Teacher().run(context(tmp_path / "run", f"teacher.weights={file}"))
