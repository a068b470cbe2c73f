"""stage=discover on a table and on the ranking check of a run: the formula, its record, its report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import tables_written
from omegaconf import OmegaConf

from evonas import files
from evonas.cli_errors import refuse_too_small
from evonas.config import to_plain
from evonas.errors import UserError
from evonas.nn.cells.nb201 import NB201Net
from evonas.objectives.evaluator import Evaluator
from evonas.proxies.catalogue import proxy
from evonas.proxies.discovery import FormulaEvaluator, filled
from evonas.proxies.expression import Calculator, NotFiniteError, parse
from evonas.proxies.formula import SAMPLE
from evonas.proxies.formula import sampled as sampled_layers
from evonas.proxies.inputs import random_images
from evonas.proxies.probe import Probe
from evonas.proxies.samples import join
from evonas.run import Run
from evonas.schema import Discover as Settings
from evonas.stages.base import Context
from evonas.stages.discover import FITNESS, KNOWN, RESULT, Discover, _each
from evonas.stages.proxy_discovery import statistics
from evonas.stages.proxy_discovery.networks import RANK, trained_networks

SMALL = {
    "networks": 8,
    "held_out": 4,
    "formulas": 60,
    "population": 12,
    "parents": 4,
    "images": 2,
    "size": 16,
}


def context(folder: Path, resume: bool = False, pairs: int = 12, **discover: Any) -> Context:
    """A run whose ranking check trained some networks: the error falls with the size."""
    settings = OmegaConf.structured(Settings(**{**SMALL, **discover}))
    made = small_run.context(folder, discover=settings, evaluator=None, cells=None)
    made = Context(made.cfg, Run(folder, "synthetic", resume=resume))
    space = made.setup.space
    rng = np.random.default_rng(0)
    chosen = {space.format(space.sample(rng)) for _ in range(pairs)}
    ranked = [{"genotype": text, "retrained": 1 - space.parse(text).genes.count(1) / 28} for text in chosen]
    files.write_json(made.run.path(RANK), {"error_name": "abs_rel", "pairs": ranked})
    return made


@pytest.fixture(scope="module")
def discovered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, dict[str, Any]]:
    made = context(tmp_path_factory.mktemp("outputs") / "one")
    line = Discover().run(made)
    result = files.read_json(made.run.directory / RESULT)
    assert result["proxy"] in line
    return made, result


def test_the_formula_is_the_best_of_those_that_were_judged(discovered: Any) -> None:
    made, result = discovered
    known = files.read_json(made.run.directory / FITNESS)["fitness"]
    assert len(known) == result["formulas"] == 60
    assert known[result["formula"]] == max(value for value in known.values() if value is not None)
    assert result["found"][result["formula"]]["training"]["tau"] == pytest.approx(known[result["formula"]])


def test_its_scores_are_those_of_the_proxy_that_is_named(discovered: Any) -> None:
    made, result = discovered
    found = trained_networks(made, 12)
    images = random_images((2, 3, 16, 16), 3)
    chosen = proxy(result["proxy"])
    parts = [chosen.parts(Probe(each.make(), images, 3)) for each in found.all]
    scores = [chosen.score(each, parts[:8]) for each in parts]
    assert [net["genotype"] for net in result["networks"]] == [each.genotype for each in found.all]
    assert [net["score"] for net in result["networks"]] == pytest.approx(scores)


def test_known_proxies_and_sums_stand_beside_it(discovered: Any) -> None:
    result = discovered[1]
    assert set(result["known"]) == {*KNOWN, "nwot"}
    assert set(result["found"]) == {result["formula"], f"{result['formula']} + nwot"}
    assert all(-1 <= row["training"]["tau"] <= 1 for row in result["known"].values())
    assert result["training"] == 8 and result["held_out"] == 4


@pytest.mark.slow
def test_stopped_and_resumed_it_finds_the_same(discovered: Any, tmp_path: Path, monkeypatch: Any) -> None:
    expected = discovered[1]
    calls = 0
    whole = FormulaEvaluator._fitness

    def counted(self: FormulaEvaluator, formula: Any) -> float | None:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise KeyboardInterrupt
        return whole(self, formula)

    monkeypatch.setattr(FormulaEvaluator, "_fitness", counted)
    with pytest.raises(KeyboardInterrupt):
        Discover().run(context(tmp_path / "run"))
    Discover().run(context(tmp_path / "run", resume=True))
    assert files.read_json(tmp_path / "run" / RESULT) == expected
    # the round that was interrupted is judged again, those before it are not
    assert calls < 30 + 60


def test_statistics_are_taken_once(discovered: Any, monkeypatch: Any) -> None:
    made = discovered[0]
    monkeypatch.setattr(statistics, "Probe", lambda *_: pytest.fail("the networks ran again"))
    statistics.network_statistics(made, trained_networks(made, 12))


def test_other_networks_have_other_statistics(discovered: Any) -> None:
    made = discovered[0]
    fewer = statistics.network_statistics(made, trained_networks(made, 7))
    assert fewer.samples.num_networks == len(fewer.scores["nwot"]) == 7


def test_a_network_without_a_score_ranks_with_the_worst() -> None:
    """Only the formula of the training networks is known to be finite."""
    images = random_images((2, 3, 16, 16), 0)
    words = [["nor_conv_3x3"] * 6, ["nor_conv_1x1"] * 6, ["avg_pool_3x3", "nor_conv_1x1"] * 3, ["none"] * 6]
    parts = [sampled_layers(Probe(NB201Net(each), images, 0).statistics, SAMPLE, 0) for each in words]
    scores = _each(Calculator(join(parts)), parse("sum(normalize(G))"))
    assert np.isfinite(scores[:3]).all() and np.isnan(scores[3])
    assert filled(scores, slice(3)).tolist() == [*scores[:3], scores[:3].min()]
    with pytest.raises(NotFiniteError):
        Calculator(join(parts)).score(parse("sum(normalize(G))"))


def test_fitness_on_another_truth_is_not_reused(tmp_path: Path) -> None:
    made = context(tmp_path / "run", formulas=20)
    Discover().run(made)
    first = files.read_json(tmp_path / "run" / FITNESS)
    resumed = Context(made.cfg, Run(tmp_path / "run", "synthetic", resume=True))
    rank = files.read_json(tmp_path / "run" / RANK)
    worst = [{**pair, "retrained": 1 - pair["retrained"]} for pair in rank["pairs"]]
    files.write_json(tmp_path / "run" / RANK, {**rank, "pairs": worst})
    Discover().run(resumed)
    again = files.read_json(tmp_path / "run" / FITNESS)
    assert again["identity"]["quality"] != first["identity"]["quality"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"beside": ["saswot"]}, "beside"),
        ({"beside": ["q"]}, "beside"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"discover.{said}"):
        Discover().run(context(tmp_path / "run", **setting))


def test_the_least_number_of_networks_is_refused_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"discover\.networks=2 is too small"):
        refuse_too_small(context(tmp_path / "run", networks=2).cfg)


def test_a_check_of_few_networks_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few") as caught:
        Discover().run(context(tmp_path / "run", pairs=4))
    assert "rank.subnets" in caught.value.hint


def test_a_table_is_enough(evonas_command: Callable, tmp_path: Path) -> None:
    tables_written.nb201(tmp_path / "tables")
    words = ("+task=nb201", f"data.root={tmp_path / 'tables'}", "run=one")
    small = [f"discover.{key}={value}" for key, value in SMALL.items()]
    ended = evonas_command(*words, "stage=discover", *small)
    assert ended.code == 0, ended.err
    folder = tmp_path / "outputs/one"
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    assert result["error_name"] == "error" and len(result["networks"]) == 12
    assert evonas_command("stage=report", "run=one").code == 0
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    assert "Zero-cost proxy" in page and "training networks" in page


def test_a_proxy_of_skeletons_is_searched_on_skeletons(evonas_command: Callable, tmp_path: Path) -> None:
    every = tables_written.skeletons()
    # the smallest networks double the channels once
    codes = every[((every == 2) | (every == 4)).sum(axis=1) == 1]
    tables_written.transnas(tmp_path / "tables", "macro", codes)
    words = ("+task=transnas_macro", f"data.root={tmp_path / 'tables'}", "data.dataset=jigsaw", "run=one")
    few = ("discover.networks=6", "discover.held_out=2", "discover.formulas=8", "discover.images=2")
    ended = evonas_command(*words, "stage=discover", *few, "discover.size=8", "discover.population=4")
    assert ended.code == 0, ended.err
    line = "Use it on these networks: +task=transnas_scores space=transnas_macro data=transnas_macro"
    assert line in ended.out
    result = json.loads((tmp_path / "outputs/one" / RESULT).read_text(encoding="utf-8"))
    assert all(text["genotype"].startswith("transnas_macro:m=") for text in result["networks"])


def test_a_formula_is_an_objective(tmp_path: Path) -> None:
    made = context(tmp_path / "run")
    small_run.train(made)
    plain, space = to_plain(made.cfg), made.setup.space
    values = []
    for text in ("sum(abs(mul(W, G)))", "sum(neg(abs(mul(W, G))))"):
        objective = {"_target_": "evonas.objectives.zero_cost.ZeroCost", "proxy": text}
        weights = str(made.run.directory / "supernet/supernet.safetensors")
        configs = (plain["space"], plain["network"], plain["task"], {"zero_cost": objective})
        evaluator = Evaluator(*configs, weights=weights)
        evaluator.setup()
        values.append(evaluator.measure(space.largest(), "shared").objectives["zero_cost"])
    # more is better for a score, and an objective is minimised
    assert values[0] < 0 and values[1] == -values[0]


def test_a_table_of_few_networks_says_so(evonas_command: Callable, tmp_path: Path) -> None:
    tables_written.transnas(tmp_path / "tables", "macro", tables_written.skeletons()[:3])
    words = ("+task=transnas_macro", f"data.root={tmp_path / 'tables'}", "stage=discover")
    ended = evonas_command(*words, "discover.networks=6", "discover.held_out=2")
    assert ended.code == 2 and "trained networks are too few to discover a proxy" in ended.err
    assert "Give a table with error of more networks" in ended.err and "stage=rank" not in ended.err


def test_a_table_without_networks_says_so(evonas_command: Callable, tmp_path: Path) -> None:
    tables_written.nb201(tmp_path / "tables")
    words = ("+task=nb201", f"data.root={tmp_path / 'tables'}", "stage=discover", "cells=null")
    ended = evonas_command(*words)
    assert ended.code != 0
    assert "Nothing builds the networks" in ended.err
