"""reuse= and budget.in_flight= of stage=search, on a tiny supernet."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import small_run
from omegaconf import OmegaConf

from evonas import files
from evonas.archive import Archive
from evonas.errors import DataError, UserError
from evonas.run import IDENTITY, Run
from evonas.schema import Budget
from evonas.stages.base import Context
from evonas.stages.search import ARCHIVE, Search

OBJECTIVES = {
    "error": {"_target_": "evonas.objectives.error.Error"},
    "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
}
SUPERNET = "supernet/supernet.safetensors"


def context(outputs: Path, name: str, searcher: str = "nsga.NSGA2", **changes: Any) -> Context:
    """A run below `outputs` with the supernet of the run `first`."""
    in_flight = changes.pop("in_flight", None)
    about = {
        "outputs": str(outputs),
        "budget": OmegaConf.structured(Budget(4, 8, in_flight)),
        "search": {"_target_": f"evonas.search.{searcher}", "population": 4, "evaluations": 8},
        "objective": OBJECTIVES,
        "tracker": {"_target_": "evonas.track.base.Silent"},
        **changes,
    }
    made = small_run.context(outputs / name, **about)
    made.cfg.hardware.workers = 0
    if name != "first":
        target = made.run.path(SUPERNET)
        for path in (outputs / "first/supernet").iterdir():
            shutil.copy(path, target.parent)
    return Context(made.cfg, Run(outputs / name, "synthetic"))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, in which `first` has been searched."""
    outputs = tmp_path_factory.mktemp("outputs")
    made = context(outputs, "first")
    small_run.train(made)
    Search().run(made)
    identity = dict.fromkeys(("created", "task", "seed", "space", "network", "data"), "any")
    files.write_json(outputs / "first" / IDENTITY, identity)
    return outputs


def dump(outputs: Path, name: str) -> str:
    with Archive.read(outputs / name / ARCHIVE) as archive:
        return archive.dump()


@pytest.mark.parametrize(
    "form", ["first", ["first"], "{outputs}/first", "{outputs}/first/search/archive.sqlite"]
)
def test_a_second_search_measures_nothing(
    outputs: Path, tmp_path: Path, form: str | list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    named = form.format(outputs=outputs) if isinstance(form, str) else form
    name = f"second-{tmp_path.name}"
    Search().run(context(outputs, name, reuse=named))
    assert "8 measurements were taken over from reuse=." in capsys.readouterr().out
    assert dump(outputs, name) == dump(outputs, "first")


def test_another_searcher_takes_over_what_both_asked(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Search().run(context(outputs, "regularized", "regularized.RegularizedEvolution", reuse="first"))
    # both begin with the two ends of the space
    taken = int(capsys.readouterr().out.split(" measurements were taken over")[0].splitlines()[-1])
    assert 2 <= taken < 8


def test_an_asynchronous_search_goes_on_and_keeps_its_kind(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = context(outputs, "steady", in_flight=3, reuse="first")
    Search().run(made)
    assert "4 measurements were taken over" in capsys.readouterr().out
    again = Context(made.cfg, Run(made.run.directory, "synthetic", resume=True))
    before = dump(outputs, "steady")
    Search().run(again)
    assert dump(outputs, "steady") == before
    for other in (5, None):
        made.cfg.budget.in_flight = other
        with pytest.raises(UserError, match="in_flight="):
            Search().run(Context(made.cfg, Run(made.run.directory, "synthetic", resume=True)))


@pytest.mark.parametrize(
    ("reuse", "kind", "says"),
    [
        ("nobody", UserError, "There is no run 'nobody'"),
        ("{outputs}/nowhere", UserError, "There is no archive at"),
        ("{outputs}/torn.sqlite", DataError, "is damaged or not an archive"),
        ("{outputs}/new/search/archive.sqlite", UserError, "is this run itself"),
    ],
)
def test_what_cannot_be_reused_is_said_before_there_is_an_archive(
    outputs: Path, reuse: str, kind: type[Exception], says: str
) -> None:
    (outputs / "torn.sqlite").write_bytes(b"x" * 4096)
    with pytest.raises(kind, match=says):
        Search().run(context(outputs, "new", reuse=reuse.format(outputs=outputs)))
    assert not (outputs / "new" / ARCHIVE).exists()


def test_another_supernet_has_nothing_to_give(outputs: Path) -> None:
    made = context(outputs, "other", reuse="first")
    made.cfg.seed = 4
    small_run.train(made)
    with pytest.raises(UserError, match="has no evaluation that this search can reuse"):
        Search().run(made)


@pytest.mark.parametrize(
    "changes",
    [
        {"searcher": "local.LocalSearch", "in_flight": 3},
        {"in_flight": 0},
        {"search": {"_target_": "evonas.search.evolution.nsga2.NSGA2", "population": 1, "evaluations": 8}},
    ],
)
def test_a_searcher_that_cannot_leaves_no_archive(outputs: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Search().run(context(outputs, "mistaken", **changes))
    assert not (outputs / "mistaken" / ARCHIVE).exists()


PARAMS = {"_target_": "evonas.objectives.analytic_costs.Params"}


def test_adding_a_cheap_objective_keeps_the_errors_that_are_known(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objectives = {**OBJECTIVES, "params": PARAMS}
    # random points, so that the objectives do not change which are asked
    alike = {"searcher": "baselines.random.RandomSearch"}
    Search().run(context(outputs, "two", **alike))
    Search().run(context(outputs, "alone", objective=objectives, **alike))
    capsys.readouterr()
    Search().run(context(outputs, "three", objective=objectives, reuse=str(outputs / "two"), **alike))
    said = capsys.readouterr().out
    assert "8 measurements were taken over from reuse=." in said
    assert "8 of them had fewer objectives, which were measured anew." in said
    # as if all had been measured
    assert dump(outputs, "three") == dump(outputs, "alone")


def test_an_expensive_objective_is_not_completed(outputs: Path) -> None:
    cheap = {"macs": OBJECTIVES["macs"], "params": PARAMS}
    Search().run(context(outputs, "cheap", objective=cheap))
    with pytest.raises(UserError, match="has no evaluation that this search can reuse"):
        Search().run(
            context(outputs, "dear", objective={**cheap, **OBJECTIVES}, reuse=str(outputs / "cheap"))
        )


def test_an_objective_of_other_settings_is_not_completed(outputs: Path) -> None:
    other = {**OBJECTIVES, "params": PARAMS, "error": {**OBJECTIVES["error"], "bn_calibration_images": 7}}
    with pytest.raises(UserError, match="has no evaluation that this search can reuse"):
        Search().run(context(outputs, "otherwise", objective=other, reuse="first"))
