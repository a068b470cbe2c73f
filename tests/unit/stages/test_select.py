"""stage=select on a fixed archive: what each rule writes, and what a person reads."""

from pathlib import Path

import pytest
import small_run

from evonas import files
from evonas.errors import UserError
from evonas.report.archive_reader import read
from evonas.stages.base import Stage
from evonas.stages.build.setup import Setup
from evonas.stages.select import Select


def selected(folder: Path, rules: list[str], include_max: bool = True) -> dict[str, dict[str, object]]:
    made = small_run.context(folder)
    small_run.search(made)
    made.cfg.select.rules, made.cfg.select.include_max = rules, include_max
    said = Select().run(made)
    assert f"stage=retrain run={folder.name}" in said
    written = files.read_json(folder / "selected.json")
    assert written["error_name"] == "abs_rel"
    return {net["name"]: net for net in written["nets"]}


def test_it_is_a_stage() -> None:
    assert isinstance(Select(), Stage)


def test_the_choice_on_a_fixed_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nets = selected(tmp_path / "run", ["knee", "spread:2", "macs<=0.7"])
    texts = {name: net["genotype"] for name, net in nets.items()}
    assert texts == {
        "knee": "tiny:m=3,0.5,3,2/s=16,32,32/e=4,1,4/d=1.1.10.1",
        "spread1": "tiny:m=4,2,4,3/s=32,32,48/e=3,2,3/d=1.1.11.1",
        "spread2": "tiny:m=0.5,3.5,1,0.5/s=16,16,16/e=0.5,1,0.5/d=1.1.01.1",
        "budget": "tiny:m=3,0.5,1,3.5/s=32,16,16/e=0.5,0.5,1/d=1.1.10.1",
        "max": "tiny:m=4,4,4,4/s=64,64,64/e=4,4,4/d=1.1.11.1",
    }
    shown = capsys.readouterr().out
    assert all(str(text) in shown for text in texts.values())
    assert "macs (GMAC)" in shown and "\x1b" not in shown


def test_every_choice_is_on_the_front_and_keeps_its_budget(tmp_path: Path) -> None:
    nets = selected(tmp_path / "run", ["knee", "best:macs", "macs<=0.7"], include_max=False)
    facts = read(tmp_path / "run/search/archive.sqlite")
    for net in nets.values():
        row = facts.genotypes.index(str(net["genotype"]))
        assert facts.objectives(row) == net["objectives"]
        assert not (
            (facts.values <= facts.values[row]).all(1) & (facts.values < facts.values[row]).any(1)
        ).any()
    within = facts.values[facts.values[:, 1] <= 0.7]
    assert nets["budget"]["objectives"] == {
        "error": within[:, 0].min(),
        "macs": within[within[:, 0].argmin(), 1],
    }
    assert nets["best_macs"]["objectives"]["macs"] == facts.values[:, 1].min()  # type: ignore[index]


def test_the_largest_network_joins_unless_told_not_to(tmp_path: Path) -> None:
    nets = selected(tmp_path / "run", ["knee"])
    space = Setup(small_run.config()).space
    assert nets["max"]["genotype"] == space.format(space.largest())
    assert nets["max"]["objectives"] == {}
    assert "max" not in selected(tmp_path / "other", ["knee"], include_max=False)


def test_the_archive_reads_as_it_was_written(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    small_run.search(made, count=20)
    facts = read(made.run.need("search/archive.sqlite", made_by="search"))
    assert facts.names == ("error", "macs") and len(facts.genotypes) == len(facts.values) == 20
    assert facts.failures == {"timeout": 1} and facts.reference == (2.0, 2.0)
    assert facts.metrics[1].label == "macs (GMAC)"


def test_without_a_search_it_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Select().run(small_run.context(tmp_path / "run"))
    assert "stage=search run=run" in caught.value.hint


def test_named_genotypes_need_no_search(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    text = "tiny:m=3,0.5,3,2/s=16,32,32/e=4,1,4/d=1.1.10.1"
    made.cfg.select = {"rules": [], "include_max": False, "genotypes": {"base": text}}
    Select().run(made)
    (net,) = files.read_json(tmp_path / "run/selected.json")["nets"]
    assert (net["name"], net["genotype"], net["objectives"]) == ("base", text, {})


def test_a_named_genotype_of_another_space_is_refused(tmp_path: Path) -> None:
    made = small_run.context(tmp_path / "run")
    made.cfg.select = {"rules": [], "include_max": False, "genotypes": {"base": "evonet:m=1"}}
    with pytest.raises(UserError, match="evonet"):
        Select().run(made)
