"""Scores without training as objectives: of subnets, and of the cells of a table."""

import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import tables_written
import torch
from omegaconf import OmegaConf
from trees import coco

from evonas import weights
from evonas.cli_args import rewrite
from evonas.config import build, to_plain
from evonas.errors import UserError
from evonas.evaluate.engine import Job
from evonas.evaluate.inline import InlineEngine
from evonas.nn.cells.transnas import WORDS, TransNASNet
from evonas.objectives.base import Objective
from evonas.objectives.context import EvaluationContext
from evonas.objectives.evaluator import Evaluator, made
from evonas.objectives.multi_task import JointEvaluator
from evonas.objectives.zero_cost import ZeroCost
from evonas.proxies.catalogue import PROXIES
from evonas.proxies.codes import nwot
from evonas.proxies.inputs import random_images
from evonas.proxies.probe import Probe
from evonas.randomness import derive, generator
from evonas.report.archive_reader import read
from evonas.stages.base import Context
from evonas.stages.supernet import Supernet as SupernetStage
from evonas.supernets.supernet import Supernet

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = small_run.config()
SPACE, NETWORK, TASK = (to_plain(CONFIG[key]) for key in ("space", "network", "task"))
TARGET = "evonas.objectives.zero_cost.ZeroCost"


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that the seed does not give."""
    path = tmp_path_factory.mktemp("weights") / "supernet.safetensors"
    bench = EvaluationContext(SPACE, NETWORK, TASK, path)
    net = Supernet(bench.family, bench.head)
    weights.save(path, {name: tensor * 1.5 for name, tensor in net.state_dict().items()})
    return path


def prepared(bench: EvaluationContext, **changes: Any) -> ZeroCost:
    made = ZeroCost(**{"proxy": "nwot", "batch_size": 2, "references": 2, **changes})
    made.prepare(bench)
    return made


@pytest.fixture(scope="module")
def bench(supernet: Path) -> EvaluationContext:
    return EvaluationContext(SPACE, NETWORK, TASK, supernet)


def test_it_is_an_objective_to_be_minimised(bench: EvaluationContext) -> None:
    objective = prepared(bench)
    assert isinstance(objective, Objective)
    value, extra = objective.measure(bench.space.largest())
    assert value == -extra["zero_cost_parts"]["nwot"]
    assert json.loads(json.dumps(extra)) == extra
    assert value != objective.measure(bench.space.smallest())[0]
    assert objective.measure(bench.space.largest())[0] == value


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_proxy_scores_a_subnet(proxy: str, bench: EvaluationContext) -> None:
    value, extra = prepared(bench, proxy=proxy).measure(bench.space.largest())
    assert math.isfinite(value)
    assert all(math.isfinite(part) for part in extra["zero_cost_parts"].values())


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A task whose networks answer with tables of boxes."""
    root = coco.write(tmp_path_factory.mktemp("coco"), train=8)
    size = {"height": 64, "width": 64, "validation": 0.25}
    data = {"_target_": "evonas.data.detection.coco.Coco", "root": str(root), **size}
    neck = {"_target_": "evonas.nn.necks.fpn.FPN", "_partial_": True, "out_channels": 8}
    head = {"_target_": "evonas.nn.detection.rcnn.RCNN", "_partial_": True, "neck": neck, "hidden": 16}
    return {"_target_": "evonas.tasks.detection.Detection", "name": "coco", "data": data, "head": head}


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_detector_is_scored_by_its_backbone(proxy: str, detector: dict[str, Any], tmp_path: Path) -> None:
    bench = EvaluationContext(SPACE, NETWORK, detector, tmp_path / "none")
    objective = prepared(bench, proxy=proxy)
    found = [objective.measure(each)[0] for each in (bench.space.largest(), bench.space.smallest())]
    assert all(map(math.isfinite, found)) and found[0] != found[1]


def test_random_weights_need_no_supernet(bench: EvaluationContext, tmp_path: Path) -> None:
    bare = EvaluationContext(SPACE, NETWORK, TASK, tmp_path / "nowhere")
    genotype = bench.space.sample(generator(0, "points"))
    alone = prepared(bare, proxy="snip").measure(genotype)
    # whether another objective has loaded trained weights into the bench changes nothing
    _ = bench.supernet
    assert prepared(bench, proxy="snip").measure(genotype) == alone
    assert prepared(bench, proxy="snip", seed=1).measure(genotype) != alone


def test_inherited_weights_are_those_of_the_supernet(bench: EvaluationContext) -> None:
    genotype = bench.space.largest()
    found = prepared(bench, proxy="l2_norm", weights="inherited").measure(genotype)[0]
    net = bench.subnet(genotype)
    norms = sum(each.double().norm().item() for each in net.parameters() if each.ndim > 1)
    assert found == pytest.approx(-norms, rel=1e-5)
    assert found != prepared(bench, proxy="l2_norm").measure(genotype)[0]


def evaluator(path: Path, **changes: Any) -> Evaluator:
    objective = {"_target_": TARGET, "proxy": "nwot", "batch_size": 2, "references": 2, **changes}
    return Evaluator(SPACE, NETWORK, TASK, {"zero_cost": objective}, str(path))


def test_a_fingerprint_depends_on_what_the_score_depends_on(supernet: Path, tmp_path: Path) -> None:
    first = evaluator(supernet).fingerprint("shared")
    # random weights depend on no file, and a comparison with no one on no references
    assert evaluator(tmp_path / "nowhere").fingerprint("shared") == first
    assert evaluator(supernet, references=3).fingerprint("shared") == first
    changes: tuple[dict[str, Any], ...] = (
        {"proxy": "snip"}, {"weights": "inherited"}, {"batch_size": 3}, {"size": [32, 32]}, {"seed": 1},
        {"proxy": "saswot"}, {"proxy": "saswot", "references": 3},
    )  # fmt: skip
    found = [evaluator(supernet, **change).fingerprint("shared") for change in changes]
    assert len({first, *found}) == 1 + len(changes)


def test_an_engine_runs_it_beside_a_cost(tmp_path: Path) -> None:
    spec = {
        "_target_": "evonas.objectives.evaluator.Evaluator",
        "_recursive_": False,
        "space": SPACE,
        "network": NETWORK,
        "task": TASK,
        "objectives": {
            "snip": {"_target_": TARGET, "proxy": "snip", "batch_size": 2, "name": "snip"},
            "zero_cost": {"_target_": TARGET, "proxy": "saswot", "batch_size": 2, "references": 2},
            "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
        },
        "weights": str(tmp_path / "nowhere"),
    }
    space = build(SPACE)
    engine = InlineEngine(spec)
    [outcome] = list(engine.run([Job(0, space.largest(), "shared")]))
    engine.close()
    assert outcome.measurement is not None, outcome.reason
    assert set(outcome.measurement.objectives) == {"snip", "zero_cost", "macs"}
    assert set(outcome.measurement.extra["zero_cost_parts"]) == {"saswot_minus", "nwot"}


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"zero_cost": {"proxy": "nwot"}, "snip": {"proxy": "snip"}}, "objective.snip.name=snip"),
        ({"macs": {"proxy": "nwot", "name": "snip"}, "snip": {"name": "snip"}}, "objective.macs.name=macs"),
    ],
)
def test_two_objectives_of_one_name_are_refused(keys: dict[str, Any], hint: str, tmp_path: Path) -> None:
    objectives = {key: {"_target_": TARGET, **more} for key, more in keys.items()}
    with pytest.raises(UserError, match="are both called") as caught:
        _ = Evaluator(SPACE, NETWORK, TASK, objectives, str(tmp_path / "nowhere")).objectives
    assert hint in caught.value.hint
    macs = {"_target_": "evonas.objectives.analytic_costs.Macs"}
    with pytest.raises(UserError, match=r"objective\.macs and objective\.flops") as caught:
        made({"macs": macs, "flops": macs})
    assert caught.value.hint == "Remove one of them."
    error = {"_target_": "evonas.objectives.error.Error"}
    with pytest.raises(UserError, match="are both called"):
        JointEvaluator({"first": {}, "second": {}}, {"error": error, **objectives})


@pytest.mark.parametrize("change", [{"batch_size": 2.5}, {"references": 3.0}, {"seed": math.inf}])
def test_fractions_of_images_and_networks_are_refused(change: dict[str, Any]) -> None:
    [(name, value)] = change.items()
    with pytest.raises(UserError, match=f"{name}={value} is not written as a whole number"):
        build({"_target_": TARGET, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"proxy": "magic"}, "no proxy 'magic'"),
        ({"weights": "good"}, "weights=good is unknown"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"references": 1}, "references=1"),
        ({"proxy": ["nwot", "zen"]}, "is not one proxy"),
        ({"size": 64}, "got 64"),
        ({"size": [64]}, r"got \[64\]"),
        ({"size": [64, 0.5]}, "size must be"),
    ],
)
def test_wrong_settings_get_one_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ZeroCost(**change)


def test_a_search_without_training_keeps_the_starting_weights(tmp_path: Path) -> None:
    made = small_run.context(tmp_path, sampler={})
    start = {"some": torch.arange(3.0)}
    weights.save(made.run.path("pretrain/supernet.safetensors"), start, {})
    assert "keeps its starting weights" in SupernetStage().run(Context(made.cfg, made.run))
    kept = weights.load(made.run.need("supernet/supernet.safetensors", made_by="supernet"))
    assert torch.equal(kept["some"], start["some"])


def test_a_trained_supernet_is_not_replaced_by_starting_weights(tmp_path: Path) -> None:
    made = small_run.context(tmp_path, sampler={})
    weights.save(made.run.path("pretrain/supernet.safetensors"), {"some": torch.zeros(3)}, {})
    trained = made.run.path("supernet/supernet.safetensors")
    weights.save(trained, {"some": torch.ones(3)}, {"panel_error": 0.1})
    with pytest.raises(UserError, match="has a trained supernet"):
        SupernetStage().run(Context(made.cfg, made.run))
    assert torch.equal(weights.load(trained)["some"], torch.ones(3))


def test_the_search_means_what_it_needs_unless_that_is_typed() -> None:
    words = rewrite(["+task=synthetic", "search=saswot"])
    assert {"objective=[zero_cost,latency]", "sampler=none", "distill=none"} <= set(words)
    # what the paper's own evolution brings leaves the teacher of an experiment alone
    words = rewrite(["+experiment=saswot_camvid", "search=saswot_matrices"])
    assert words[2:] == ["objective=[zero_cost,macs]", "sampler=none"]
    typed = rewrite(["+task=synthetic", "search=saswot", "objective=[zero_cost,macs]", "distill=caddkd"])
    assert set(typed) == {
        "+task=synthetic", "search=saswot", "objective=[zero_cost,macs]", "distill=caddkd", "sampler=none"
    }  # fmt: skip
    assert "sampler=none" not in rewrite(["+task=synthetic", "search=nsga2"])
    every = ["-m", "search=nsga2,saswot", "objective=[zero_cost,macs]", "sampler=none", "distill=none"]
    assert rewrite(every) == every


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    codes = np.array(list(product(range(4), repeat=6)), dtype=np.int8)
    tables_written.transnas(tmp_path / "tables", "micro", codes)
    return tmp_path / "tables"


def scored(root: Path, **changes: Any) -> dict[str, Any]:
    axes = {f"e{edge}": list(WORDS) for edge in range(1, 7)}
    return {
        "_target_": "evonas.objectives.tabular.proxy_columns.ScoredTable",
        "_recursive_": False,
        "space": {
            "_target_": "evonas.space.declared.declared_space", "name": "transnas_micro", "axes": axes
        },
        "table": {
            "_target_": "evonas.data.nas_bench.base.transnas", "root": str(root), "kind": "micro",
            "dataset": "class_scene",
        },
        "cells": {"_target_": "evonas.nn.cells.transnas.TransNASNet", "task": "class_scene"},
        "proxies": ["nwot"],
        "size": [32, 32],
        "references": 2,
        **changes,
    }  # fmt: skip


def test_a_table_is_scored_beside_its_columns(tables: Path) -> None:
    measuring = build(scored(tables))
    measuring.setup()
    assert [each.name for each in measuring.objectives] == ["nwot", "flops"]
    words = ["conv1x1", "none", "skip", "skip", "none", "conv1x1"]
    found = measuring.measure(measuring.space.parse(f"transnas_micro:e={','.join(words)}"), "shared")
    row = int("".join(str(WORDS.index(word)) for word in words), 4)
    assert found.objectives["flops"] == 100.0 + row
    assert found.extra == {"table": {"error": 100.0 - row}}
    net = TransNASNet(words, "class_scene", derive(0, "scored/weights"))
    assert found.objectives["nwot"] == -nwot(Probe(net, random_images((4, 3, 32, 32), 0), 0))


def test_the_scores_are_part_of_a_tables_fingerprint(tables: Path) -> None:
    first = build(scored(tables)).fingerprint("shared")
    for change in ({"proxies": ["snip"]}, {"size": [64, 64]}, {"seed": 1}, {"batch_size": 2}):
        assert build(scored(tables, **change)).fingerprint("shared") != first
    with pytest.raises(UserError, match="must name proxies"):
        build(scored(tables, proxies=[]))
    with pytest.raises(UserError, match="batch_size=1"):
        build(scored(tables, batch_size=1))
    for wrong, said in (
        ({"proxies": "nwot"}, "proxies=nwot is not a list"),
        ({"size": [64]}, "must be a list of proxies"),
        ({"size": 64}, "size=64 is not a list"),
    ):
        with pytest.raises(UserError, match=said):
            build(scored(tables, **wrong))


SMALL = (
    "evaluator.size=[32,32]",
    "evaluator.proxies=[nwot]",
    "budget.population=2",
    "budget.evaluations=2",
    "hardware.workers=0",
    "run=one",
)


def test_cells_are_searched_by_a_score(evonas_command: Callable, tables: Path, tmp_path: Path) -> None:
    words = ("+task=transnas_scores", f"data.root={tables}", "data.dataset=class_scene")
    ended = evonas_command(*words, *SMALL, "stage=search")
    assert ended.code == 0, ended.err
    facts = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert list(facts.names) == ["nwot", "flops"] and len(facts.genotypes) == 2


def test_skeletons_are_searched_by_a_score(evonas_command: Callable, tmp_path: Path) -> None:
    tables_written.transnas(tmp_path / "tables", "macro", tables_written.skeletons())
    words = ("+task=transnas_scores", "space=transnas_macro", "data=transnas_macro")
    ended = evonas_command(*words, f"data.root={tmp_path / 'tables'}", "data.dataset=class_scene", *SMALL)
    assert ended.code == 0, ended.err
    facts = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert list(facts.names) == ["nwot", "flops"] and len(facts.genotypes) == 2
    assert all(text.startswith("transnas_macro:m=") for text in facts.genotypes)
    for row in json.loads((tmp_path / "outputs/one/selected.json").read_text())["nets"]:
        given = row["genotype"].partition("=")[2].split(",")
        net = TransNASNet(given, "class_scene", derive(0, "scored/weights"))
        expected = nwot(Probe(net, random_images((4, 3, 32, 32), 0), 0))
        assert row["objectives"]["nwot"] == pytest.approx(-expected)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ("space=transnas_macro",),
            "Space transnas_macro contains no architecture of the table transnas_micro",
        ),
        (("data.kind=macro",), "Space transnas_micro contains no architecture of the table transnas_macro"),
    ],
)
def test_a_space_beside_the_table_of_another_is_told_at_once(
    evonas_command: Callable, tables: Path, typed: tuple[str, ...], said: str
) -> None:
    tables_written.transnas(tables, "macro", tables_written.skeletons())
    root = (f"data.root={tables}", "data.dataset=class_scene")
    ended = evonas_command("+task=transnas_scores", *root, *typed, *SMALL)
    assert ended.code == 2 and said in ended.err and "[1/" not in ended.out
    assert "space=transnas_macro data=transnas_macro" in ended.err


def test_tiles_are_scored_as_their_networks_read_them(tmp_path: Path, root: Path) -> None:
    tables_written.transnas(tmp_path, "macro", tables_written.skeletons())
    space = to_plain(OmegaConf.load(root / "conf/space/transnas_macro.yaml"))
    table = {**scored(tmp_path)["table"], "kind": "macro", "dataset": "jigsaw"}
    cells = {"_target_": "evonas.nn.cells.transnas.TransNASNet", "task": "jigsaw"}
    measuring = build(scored(tmp_path, space=space, table=table, cells=cells))
    given = ["both", "normal", "normal", "normal", "none", "none"]
    point = measuring.space.parse(f"transnas_macro:m={','.join(given)}")
    found = measuring.measure(point, "shared").objectives["nwot"]
    net = TransNASNet(given, "jigsaw", derive(0, "scored/weights"))
    assert found == -nwot(Probe(net, random_images((4, 9, 3, 32, 32), 0), 0))
