"""One search over the supernets of two tasks: what is measured, under which names, and what follows."""

from pathlib import Path
from typing import Any

import pytest
import small_stages
from omegaconf import OmegaConf

from evonas import files, weights
from evonas.config import build
from evonas.errors import UserError
from evonas.objectives.base import Objective
from evonas.objectives.evaluator import Evaluator
from evonas.report.archive_reader import read
from evonas.report.page.html import render
from evonas.space.genotype import Genotype
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.joint import joint_config
from evonas.stages.report import gather
from evonas.stages.run import is_wanted, settings
from evonas.stages.search import Search
from evonas.stages.select import Select

SMALL = ("data.train=4", "data.validation=2", "data.test=2", "hardware.workers=0")
NORMALS = (
    "task._target_=evonas.tasks.normals.Normals",
    "~task.max_depth",
    "task.name=normals",
    "+data.normals=true",
)
pytestmark = pytest.mark.usefixtures("one_thread")


def trained(folder: Path, *overrides: str) -> Context:
    """A run with a supernet, its weights straight from the seed."""
    made = small_stages.context(folder, *SMALL, *overrides)
    about = dict.fromkeys(("task", "seed", "space", "network", "data"))
    files.write_json(folder / "run.json", {"created": "2026-01-01", **about})
    files.write_text(folder / "attempts/001/config.yaml", OmegaConf.to_yaml(made.cfg))
    files.write_text(
        folder / "attempts/001/overrides.yaml", "- +task=any\n- networks='run:x#knee'\n- data.train=4\n"
    )
    weights.save(made.run.path(factory.SUPERNET), factory.supernet(made.setup).state_dict())
    return made


def joint(folder: Path, *overrides: str, resume: bool = False) -> Context:
    """A search over the runs `depth` and `normals` of the same outputs."""
    small = (
        "multi_task_runs=[depth,normals]",
        "objective=[error,macs]",
        "budget.population=3",
        "budget.evaluations=6",
    )
    return small_stages.context(folder, *SMALL, *small, *overrides, resume=resume)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two trained runs of one space."""
    trained(tmp_path / "depth")
    trained(tmp_path / "normals", *NORMALS)
    return tmp_path


def test_every_task_has_its_error_and_the_first_its_cost(outputs: Path) -> None:
    evaluator = build(joint_config(joint(outputs / "both"), "cpu"))
    assert [each.name for each in evaluator.objectives] == ["error_synthetic", "error_normals", "macs"]
    assert all(isinstance(each.unit, str) and each.part == "shared" for each in evaluator.objectives)
    assert isinstance(evaluator.objectives[2], Objective)
    evaluator.setup()
    space = joint(outputs / "both").setup.space
    points = [space.largest(), space.smallest()]
    together = evaluator.measure_together(points, "shared")
    assert together == [evaluator.measure(point, "shared") for point in points]
    for name in ("synthetic", "normals"):
        alone = Evaluator(**evaluator_keywords(outputs, name))
        alone.setup()
        for point, found in zip(points, together, strict=True):
            expected = alone.measure(point, "shared")
            assert found.objectives[f"error_{name}"] == expected.objectives["error"]
            assert found.extra[f"metrics_{name}"] == expected.extra["metrics"]
            if name == "synthetic":
                assert found.objectives["macs"] == expected.objectives["macs"]


def evaluator_keywords(outputs: Path, member: str) -> dict[str, Any]:
    """Of the evaluator that the run of this task would have alone."""
    config = joint_config(joint(outputs / "both"), "cpu")
    return {**config["members"][member], "objectives": config["objectives"]}


def test_what_fails_in_one_task_fails_and_names_it(outputs: Path) -> None:
    path = outputs / "normals" / factory.SUPERNET
    broken = weights.load(path)
    broken["head.predict.bias"].fill_(float("nan"))
    weights.save(path, broken)
    evaluator = build(joint_config(joint(outputs / "both"), "cpu"))
    evaluator.setup()
    space = joint(outputs / "both").setup.space
    good = space.parse("nano:m=3,3,3,3/s=32,32,32/e=2,2,2/d=11.11.1011.11")
    spoilt, nonsense = evaluator.measure_together([good, Genotype(space.name, (99,))], "shared")
    assert isinstance(spoilt, ValueError) and str(spoilt).startswith("normals: the subnet's output")
    assert isinstance(nonsense, UserError)


def test_facts_belong_to_the_weights_of_both(outputs: Path) -> None:
    def prints() -> str:
        return str(build(joint_config(joint(outputs / "both"), "cpu")).fingerprint("shared"))

    before = prints()
    assert before == prints()
    moved = trained(outputs / "normals", *NORMALS, "seed=5")
    assert prints() != before
    assert (
        weights.digest(moved.run.path(factory.SUPERNET))
        in build(joint_config(joint(outputs / "both"), "cpu")).weights_digest
    )


def test_search_resumes_and_is_shown_without_stages_that_it_has_not(outputs: Path) -> None:
    made = joint(outputs / "both")
    Search().run(made)
    facts = read(outputs / "both/search/archive.sqlite")
    assert facts.names == ("error_synthetic", "error_normals", "macs") and len(facts.values) == 6
    assert facts.hypervolume is not None and facts.identity["joint"] == ["depth", "normals"]
    more = joint(outputs / "both", "budget.evaluations=9", "search.evaluations=9", resume=True)
    Search().run(more)
    assert read(outputs / "both/search/archive.sqlite").genotypes[:6] == facts.genotypes
    made.cfg.select.rules = ["best:error_normals", "knee"]
    said = Select().run(made)
    assert "networks=run:both#best_error_normals" in said and "inputs=normals" in said and "run:x" not in said
    page = render(gather(made.run))
    assert "best_error_normals" in page and "stage=retrain" not in page


@pytest.mark.slow
def test_facts_of_another_multi_task_search_are_taken_over(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Search().run(joint(outputs / "both"))
    Search().run(joint(outputs / "again", f"reuse={outputs / 'both'}"))
    assert "6 measurements were taken over" in capsys.readouterr().out


@pytest.mark.slow
def test_a_dry_run_tells_the_cost_and_keeps_nothing(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Search().run(joint(outputs / "both", "dry_run=true"))
    assert "Nothing was kept" in said and "6 points" in capsys.readouterr().out
    assert not (outputs / "both/search").exists()


def test_two_runs_of_one_task_are_called_by_their_own_names(outputs: Path) -> None:
    trained(outputs / "depth-2", "seed=2")
    config = joint_config(joint(outputs / "both", "multi_task_runs=[depth,depth-2]"), "cpu")
    assert list(config["members"]) == ["depth", "depth_2"]


@pytest.mark.parametrize(
    ("overrides", "said", "hinted"),
    [
        (["multi_task_runs=[depth]"], "two tasks", "multi_task_runs=[<run>,<run>]"),
        (["multi_task_runs=[depth,depth]"], "each once", "multi_task_runs="),
        (["multi_task_runs=[depth,nobody]"], "no run 'nobody'", "depth"),
        (["space=evonet"], "'depth' was trained over another space", "space=nano"),
        (["objective=[macs,params]"], "evaluates data", "objective="),
    ],
)
def test_what_cannot_be_joined_is_said(overrides: list[str], said: str, hinted: str, outputs: Path) -> None:
    with pytest.raises(UserError) as caught:
        build(joint_config(joint(outputs / "both", *overrides), "cpu"))
    assert said in caught.value.message and hinted in caught.value.hint


def test_a_run_without_a_supernet_says_how_to_make_it(outputs: Path) -> None:
    (outputs / "normals" / factory.SUPERNET).unlink()
    with pytest.raises(UserError, match="Run 'normals' has no") as caught:
        joint_config(joint(outputs / "both"), "cpu")
    assert "stage=supernet run=normals" in caught.value.hint


def test_racing_needs_one_error(outputs: Path) -> None:
    with pytest.raises(UserError, match="needs an objective 'error'"):
        Search().run(joint(outputs / "both", "fidelity=racing"))


def test_a_multi_task_search_has_nothing_to_train(outputs: Path) -> None:
    cfg = joint(outputs / "both").cfg
    stages = ("pretrain", "supernet", "search", "select", "retrain", "evaluate", "export", "report")
    assert [name for name in stages if is_wanted(cfg, name)] == ["search", "select", "report"]
    assert settings(cfg, "search")["joint"] == ["depth", "normals"]
