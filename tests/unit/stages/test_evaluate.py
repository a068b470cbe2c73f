"""stage=evaluate on a tiny run: the test split, all weights, a baseline and pictures."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch
from PIL import Image

from evonas import files, weights
from evonas.config import to_plain
from evonas.data.loading.batches import calibration
from evonas.errors import EngineError, UserError
from evonas.nn.bn_calibration import calibrate_batch_norm
from evonas.objectives.analytic_costs import Macs
from evonas.objectives.context import EvaluationContext
from evonas.report.page import tables
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.evaluate import Evaluate, finite
from evonas.stages.networks.shipped import Shipped
from evonas.stages.report import Report
from evonas.stages.select import Select
from evonas.stages.training.setup import EvaluationSetup
from evonas.supernets.supernet import extract
from evonas.train import validation_panel

INT8 = {"_target_": "evonas.runtimes.quantisation.Quantisation", "images": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Context:
    context = small_run.context(tmp_path_factory.mktemp("runs") / "run")
    small_run.search(context)
    small_run.train(context)
    Select().run(context)
    small_run.retrain(context)
    Evaluate().run(context)
    return context


def test_the_numbers_are_those_of_the_test_split(made: Context) -> None:
    test = files.read_json(made.run.need("evaluate/test.json", made_by="evaluate"))
    assert test["split"] == "test" and test["num_images"] == 6 and test["error_name"] == "abs_rel"
    task, net = made.setup.task, test["nets"][0]
    supernet = factory.load_supernet(made)
    static = extract(supernet, supernet.space.parse(net["genotype"]))
    mixed = validation_panel.score(static.eval(), task, "test", 8, torch.device("cpu"))
    calibrate_batch_norm(static, calibration(task.dataset("train"), 4, 8))
    inherited = validation_panel.score(static.eval(), task, "test", 8, torch.device("cpu"))
    assert net["inherited"] == pytest.approx(inherited, rel=1e-6) and inherited != mixed
    factory.load_into(static, made.run.need(f"retrain/{net['name']}/model.safetensors", made_by="retrain"))
    retrained = validation_panel.score(static.eval(), task, "test", 8, torch.device("cpu"))
    assert net["retrained"] == pytest.approx(retrained, rel=1e-6)
    assert net["retrained"] != net["inherited"] and net["scratch"] is None


def test_a_baseline_stands_beside_them(made: Context) -> None:
    test = files.read_json(made.run.need("evaluate/test.json", made_by="evaluate"))
    name, metrics = made.setup.task.baseline()
    assert test["baseline"] == {"name": name, "metrics": finite(metrics)}
    assert test["teacher"] is None


def test_costs_are_counted_on_the_whole_network(made: Context) -> None:
    test = files.read_json(made.run.need("evaluate/test.json", made_by="evaluate"))
    by_name = {net["name"]: net for net in test["nets"]}
    assert by_name["max"]["params"] == max(net["params"] for net in test["nets"])
    assert by_name["max"]["macs"] == max(net["macs"] for net in test["nets"])
    bench = EvaluationContext(*(to_plain(made.cfg[key]) for key in ("space", "network", "task")), path="")
    closed = Macs()
    closed.prepare(bench)
    for each in test["nets"]:
        # attention's two products are among them, whatever kernel torch picks for it
        assert each["macs"] == round(1e9 * closed.measure(bench.space.parse(each["genotype"]))[0])


def test_pictures_are_there_for_every_network(made: Context) -> None:
    test = files.read_json(made.run.need("evaluate/test.json", made_by="evaluate"))
    folder = made.run.need("evaluate/pictures", made_by="evaluate")
    assert len(test["pictures"]) == 3
    for entry in test["pictures"]:
        assert set(entry["nets"]) == {net["name"] for net in test["nets"]}
        for name in (entry["image"], entry["truth"], *entry["nets"].values()):
            with Image.open(folder / name) as image:
                assert image.size == (64, 32) and np.asarray(image).std() > 0


def test_weights_of_an_earlier_choice_are_not_used(tmp_path: Path) -> None:
    context = small_run.context(tmp_path / "run")
    small_run.search(context)
    small_run.train(context)
    Select().run(context)
    small_run.retrain(context)
    context.cfg.select.rules = ["best:macs"]
    context.cfg.select.include_max = False
    Select().run(context)
    renamed = files.read_json(tmp_path / "run/selected.json")
    renamed["nets"][0]["name"] = "knee"
    files.write_json(tmp_path / "run/selected.json", renamed)
    Evaluate().run(context)
    (net,) = files.read_json(tmp_path / "run/evaluate/test.json")["nets"]
    assert net["name"] == "knee" and net["retrained"] is None


def test_a_network_whose_outputs_are_not_finite_has_no_score(
    made: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made.run.directory, tmp_path / "run")
    context = Context(made.cfg, Run(tmp_path / "run", "synthetic"))
    (sick, *others) = files.read_json(tmp_path / "run/selected.json")["nets"]
    path = tmp_path / "run/retrain" / sick["name"] / "model.safetensors"
    tensors, meta = weights.load(path), weights.load_meta(path)
    tensors["head.predict.bias"] = torch.full_like(tensors["head.predict.bias"], float("nan"))
    weights.save(path, tensors, meta)
    with caplog.at_level(logging.WARNING):
        Evaluate().run(context)
    rows = {net["name"]: net for net in files.read_json(tmp_path / "run/evaluate/test.json")["nets"]}
    assert set(rows[sick["name"]]["retrained"].values()) == {None}
    assert f"{sick['name']} (retrained) has no score" in caplog.text
    assert all(rows[other["name"]]["retrained"]["abs_rel"] > 0 for other in others)
    Report().run(context)
    # on the validation split, which every choice relies on, such a network stops the stage
    setup = EvaluationSetup(context)
    supernet = factory.load_supernet(context)
    static = extract(supernet, supernet.space.parse(sick["genotype"]))
    factory.load_into(static, path)
    with pytest.raises(EngineError, match="The abs_rel of a network is nan on the validation split"):
        setup.score(static)


def test_a_metric_without_a_value_is_kept_as_none() -> None:
    assert finite({"a": 0.5, "b": float("nan")}) == {"a": 0.5, "b": None}


def test_networks_are_measured_as_they_ship(made: Context, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    Evaluate(["fp32", "fp16"], ["onnxruntime"]).run(made)
    test = files.read_json(made.run.need("evaluate/test.json", made_by="evaluate"))
    rows = {(row["name"], row["precision"]): row for row in test["shipped"]}
    assert len(rows) == 2 * len(test["nets"])
    for net in test["nets"]:
        exact, trained = rows[net["name"], "fp32"], net["retrained"] or net["inherited"]
        assert exact["metrics"]["abs_rel"] == pytest.approx(trained["abs_rel"], rel=1e-3)
        assert exact["low_ms"] <= exact["ms"] <= exact["high_ms"] and exact["mb"] > 0
        assert "fp16" in rows[net["name"], "fp16"]["reason"]
    assert "As shipped" in capsys.readouterr().out
    [table] = tables.tested(test, {})[1:]
    assert len(table.rows) == len(test["shipped"]) and table.columns[3].startswith("AbsRel")


def test_a_network_in_int8_is_another_one(made: Context) -> None:
    pytest.importorskip("onnxruntime")
    made.cfg.runtime = {"_target_": "evonas.runtimes.choice.Auto", "int8": INT8}
    supernet = factory.load_supernet(made)
    net = extract(supernet, supernet.space.smallest()).eval()
    exact, small = Shipped(EvaluationSetup(made), ["fp32", "int8"]).rows("smallest", net)
    assert small["metrics"]["abs_rel"] == pytest.approx(exact["metrics"]["abs_rel"], rel=0.1)
    assert small["metrics"]["abs_rel"] != exact["metrics"]["abs_rel"]
    # of so small a network, scales weigh more than what 8 bits save
    assert small["mb"] != exact["mb"] and small["runtime"] == "onnxruntime"


@pytest.mark.parametrize(
    ("words", "message"), [(["int4"], "'int4' is unknown"), (["fp8"], "'fp8' is unknown")]
)
def test_unknown_precisions_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Evaluate(words)
