"""stage=search on a tiny supernet: a whole archive, a resume that goes on, and refusals."""

from pathlib import Path
from typing import Any

import pytest
import small_run
from omegaconf import OmegaConf

from evonas import weights
from evonas.archive import Archive
from evonas.errors import EngineError, UserError
from evonas.report.archive_reader import read
from evonas.run import Run
from evonas.schema import Budget
from evonas.stages.base import Context
from evonas.stages.build.evaluator import torch_device
from evonas.stages.search import ARCHIVE, Search

OBJECTIVES = {
    "error": {"_target_": "evonas.objectives.error.Error"},
    "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
}


def context(folder: Path, evaluations: int, resume: bool = False, **changes: Any) -> Context:
    changes = {
        "budget": OmegaConf.structured(Budget(4, evaluations)),
        "search": {
            "_target_": "evonas.search.evolution.nsga2.NSGA2",
            "population": 4,
            "evaluations": evaluations,
        },
        "objective": OBJECTIVES,
        "tracker": {"_target_": "evonas.track.base.Silent"},
        **changes,
    }
    made = small_run.context(folder, **changes)
    made.cfg.hardware.workers = 0
    return Context(made.cfg, Run(folder, "synthetic", resume))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    made = context(folder, 8)
    small_run.train(made)
    assert "stage=select" in Search().run(made)
    return folder


def test_archive_is_what_the_report_reads(searched: Path) -> None:
    facts = read(searched / ARCHIVE)
    assert facts.names == ("error", "macs")
    assert facts.units["macs"] == "GMAC"
    assert len(facts.genotypes) >= 8
    assert facts.reference is not None
    assert facts.reference == pytest.approx(1.1 * facts.values[:4].max(axis=0))


def test_larger_budget_goes_on_and_measures_only_what_is_new(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read(searched / ARCHIVE)
    Search().run(context(searched, 12, resume=True))
    after = read(searched / ARCHIVE)
    assert after.genotypes[:8] == before.genotypes[:8]
    assert len(after.genotypes) == 12
    assert after.reference == before.reference
    said = capsys.readouterr().out
    assert "8 points were known from the archive." in said
    assert "generation 3: 12/12 points" in said


def test_without_resume_it_is_refused(searched: Path) -> None:
    with pytest.raises(UserError, match="resume=true"):
        Search().run(context(searched, 12))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 4}, "seed="),
        ({"objective": {"macs": OBJECTIVES["macs"]}}, "objectives="),
        (
            {
                "search": {
                    "_target_": "evonas.search.baselines.random.RandomSearch",
                    "population": 4,
                    "evaluations": 12,
                }
            },
            "search=",
        ),
    ],
)
def test_resume_cannot_change_the_question(searched: Path, change: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        Search().run(context(searched, 12, resume=True, **change))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    made = context(tmp_path / "run", 4)
    small_run.train(made)
    Search().run(made)
    path = made.run.path("supernet/supernet.safetensors")
    weights.save(path, {name: tensor + 0.5 for name, tensor in weights.load(path).items()})
    with pytest.raises(UserError, match="weights="):
        Search().run(context(tmp_path / "run", 8, resume=True))


def test_missing_supernet_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stage=supernet"):
        Search().run(context(tmp_path / "run", 4))


def test_a_search_in_which_nothing_works_is_an_error(tmp_path: Path) -> None:
    made = context(tmp_path / "run", 4)
    broken = small_run.factory.supernet(made.setup).state_dict()
    nothing = {k: v * float("nan") if v.is_floating_point() else v for k, v in broken.items()}
    weights.save(made.run.path("supernet/supernet.safetensors"), nothing)
    with pytest.raises(EngineError, match="None of 4 points could be measured: the subnet's output"):
        Search().run(made)
    with Archive.read(made.run.path(ARCHIVE)) as archive:
        assert {fact.state for fact in archive.evaluations()} == {"failed"}


def test_unknown_accelerator_is_refused() -> None:
    assert torch_device("gpu") == "cuda"
    with pytest.raises(UserError, match="accelerator=abacus"):
        torch_device("abacus")
