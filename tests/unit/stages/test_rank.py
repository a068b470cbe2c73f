"""stage=rank on a tiny supernet: statistics beside the costs, and agreement with a check of another run."""

from pathlib import Path
from typing import Any

import pytest
import small_run
from omegaconf import OmegaConf

from evonas import files
from evonas.errors import UserError
from evonas.run import Run
from evonas.schema import Limits, Train
from evonas.schema import Rank as RankSettings
from evonas.stages.base import Context
from evonas.stages.rank import RESULT, Rank, sentence


def context(folder: Path, **rank: Any) -> Context:
    changes = {
        "outputs": str(folder.parent),
        "train": OmegaConf.structured(Train()),
        "limits": OmegaConf.structured(Limits(max_epochs=1, max_batches=1)),
        "rank": OmegaConf.structured(RankSettings(subnets=4, **rank)),
        "tracker": {"_target_": "evonas.track.base.Silent"},
    }
    made = small_run.context(folder, **changes)
    return Context(made.cfg, Run(folder, "synthetic"))


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a ranking check, and the mark that makes its folder a run."""
    folder = tmp_path_factory.mktemp("outputs") / "first"
    made = context(folder)
    small_run.train(made)
    Rank().run(made)
    files.write_json(folder / "run.json", {})
    return folder


def test_every_number_stands_beside_those_of_the_costs(ranked: Path) -> None:
    result = files.read_json(ranked / RESULT)
    assert len(result["pairs"]) == 4 and {"macs", "params"} <= result["pairs"][0].keys()
    assert set(result["predictors"]) == {"inherited", "macs", "params"}
    for found in result["predictors"].values():
        assert found["regret"] >= 0
        assert found["tau"] is None or -1 <= found["tau"] <= 1


def test_two_runs_compare_the_same_subnets(ranked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = context(ranked.parent / "second", against="first")
    small_run.train(made)
    line = Rank().run(made)
    first, second = (files.read_json(ranked.parent / name / RESULT) for name in ("first", "second"))
    assert [pair["genotype"] for pair in first["pairs"]] == [pair["genotype"] for pair in second["pairs"]]
    # equal weights and equal seeds: the two checks are one check made twice
    perfect = {"inherited": 1.0, "retrained": 1.0, "ceiling": pytest.approx(1.0)}
    assert second["agreement"] == {"run": "first", "common": 4, **perfect}
    assert "inherited errors agree with run first by 1.00" in line
    assert "4 subnets say little" in capsys.readouterr().out


def test_a_run_without_a_check_is_named(ranked: Path) -> None:
    bare = ranked.parent / "bare"
    bare.mkdir()
    files.write_json(bare / "run.json", {})
    with pytest.raises(UserError, match="Run 'bare' has no ranking check") as caught:
        Rank().run(context(ranked.parent / "third", against="bare"))
    assert "stage=rank run=bare" in caught.value.hint


def test_shared_statistics_are_ranked_beside_the_renewed_ones(ranked: Path) -> None:
    made = context(ranked.parent / "shared")
    made.cfg.train.bn_calibration_images = 0
    small_run.train(made)
    line = Rank().run(made)
    shared, renewed = (files.read_json(folder / RESULT) for folder in (ranked.parent / "shared", ranked))
    assert "mixed" not in shared and "statistics" not in line
    assert "statistics of all subnets" in sentence(renewed)
    assert set(renewed["mixed"]) == {"tau", "low", "high"}
    assert [pair["mixed"] for pair in renewed["pairs"]] == [pair["inherited"] for pair in shared["pairs"]]
    assert all(pair["mixed"] != pair["inherited"] for pair in renewed["pairs"])
    assert len(list((ranked / "statistics").glob("*.safetensors"))) == 4
    assert not (ranked.parent / "shared/statistics").exists()
