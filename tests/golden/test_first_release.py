"""Runs that the first release left behind are read, continued and reused as if nothing had changed since.

`first_release/` holds what commit 56f92cd wrote: a small pipeline (`small`), a race that used its supernet
(`raced`) and a guided search on a table of cells that it had not finished (`table`); beside them, the facts
with which it went on when it was given a larger budget. Networks that no test reads were removed.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evonas import files, weights
from evonas.archive import Archive, Evaluation
from evonas.identifiers import MOVED, identified
from evonas.objectives.error import Error
from evonas.report.analysis.genealogy import survivors
from evonas.run import _QUESTION, Run, recorded_overrides
from evonas.search.evolution.nsga2 import NSGA2
from evonas.stages.report import gather
from evonas.supernets.evonet.family import EvoNet

FIXTURE = Path(__file__).parent / "first_release"
ARCHIVE = "search/archive.sqlite"
BUDGETS = {"small": 16, "raced": 16, "table": 44}
TRAINED = ("supernet/supernet.safetensors", "retrain/knee/model.safetensors")
# what was typed for the table: an interpolation is recorded as what it stood for, which cannot be typed again
TABLE = (
    "+task=nb201",
    "data.root=tables",
    "search=nsganetv2",
    "search.initial=16",
    "+search.cheap.flops={_target_:evonas.objectives.tabular.KnownColumn,_recursive_:false,"
    "table:${data},column:flops}",
)
Command = Callable[..., Any]


@pytest.fixture
def command(evonas_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in a folder where the first release has worked; a command that fails is an error."""
    shutil.copytree(FIXTURE / "outputs", tmp_path / "outputs")
    shutil.copytree(FIXTURE / "tables", tmp_path / "tables")
    # weights of which later stages read the manifest alone
    for name in ("pretrain/supernet", "teacher/teacher"):
        (tmp_path / f"outputs/small/{name}.safetensors").touch()
    # compiled kernels round otherwise, and are therefore part of what errors depend on
    monkeypatch.setattr("evonas.ops.native.is_built", lambda: False)

    def run(*words: str) -> str:
        ended = evonas_command(*words)
        assert ended.code == 0, ended.err
        return str(ended.out)

    return run


def continued(run: str) -> list[dict[str, Any]]:
    """The facts of the first release after it went on."""
    found: list[dict[str, Any]] = files.read_json(FIXTURE / f"{run}.json")
    return found


def typed(run: str) -> list[str]:
    """The search of a run with the larger budget, in words."""
    words = TABLE if run == "table" else recorded_overrides(FIXTURE / "outputs" / run)
    kept = [word for word in words if not word.startswith("budget.evaluations=")]
    return ["stage=search", *kept, f"budget.evaluations={BUDGETS[run]}"]


def facts(run: str) -> list[Evaluation]:
    with Archive.read(Path("outputs", run, ARCHIVE)) as archive:
        return archive.evaluations()


def fingerprints(run: str) -> set[str]:
    return {fact.fingerprint for fact in facts(run)}


def assert_equal(found: list[Evaluation], wanted: list[dict[str, Any]], prints: bool = True) -> None:
    """The same points in the same order, with the same numbers to what processors agree on."""
    keys = ("seq", "genotype", "part", "state", *(["fingerprint"] if prints else []))
    if not prints:
        # facts of one point, on some images and on all, lie in the order of their fingerprints
        found = sorted(found, key=lambda fact: (fact.seq, fact.objectives["error"]))
        wanted = sorted(wanted, key=lambda fact: (fact["seq"], fact["objectives"]["error"]))
    assert [[getattr(fact, key) for key in keys] for fact in found] == [
        [fact[key] for key in keys] for fact in wanted
    ]
    for fact, known in zip(found, wanted, strict=True):
        assert dict(fact.objectives) == pytest.approx(known["objectives"], rel=1e-4)


def texts(value: Any) -> Iterator[str]:
    """Every `_target_` in plain data."""
    if isinstance(value, dict):
        yield from (str(child) for key, child in value.items() if key == "_target_")
        for child in value.values():
            yield from texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from texts(child)


@pytest.mark.parametrize("run", BUDGETS)
def test_the_fixture_is_of_the_time_before_ids(run: str) -> None:
    with Archive.read(FIXTURE / "outputs" / run / ARCHIVE) as archive:
        assert all(text.startswith("evonas.") for text in texts(archive.meta))
        assert "naming" not in archive.meta and list(texts(archive.meta))


def test_a_run_is_listed_shown_chosen_from_and_reported(command: Command) -> None:
    assert all(run in command("list") for run in BUDGETS)
    known = files.read_json(Path("outputs/small/selected.json"))["nets"]
    [net] = known
    shown = command("stage=show", "run=small")
    assert net["genotype"] in shown and next(iter(fingerprints("small"))) in shown
    command("stage=select", "run=small")
    assert files.read_json(Path("outputs/small/selected.json"))["nets"] == known
    command("stage=report", "run=small")
    page = Path("outputs/small/report/index.html").read_text(encoding="utf-8")
    assert net["genotype"] in page
    # what its searcher was, and what genes mean, are known by the names that it wrote
    found = gather(Run(Path("outputs/small").absolute(), "synthetic"))
    assert found.space is not None and found.results is not None and survivors(found.results) is not None


@pytest.mark.parametrize("run", BUDGETS)
def test_a_search_goes_on_as_the_first_release_would(command: Command, run: str) -> None:
    command(f"run={run}", *typed(run), "resume=true")
    assert_equal(facts(run), continued(run))
    with Archive.read(Path("outputs", run, ARCHIVE)) as archive:
        assert all(text.startswith("evonas.") for text in texts(archive.meta))


def test_a_search_goes_on_after_its_parts_have_moved(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a later release would: the config says where things are by then, or what their ids are."""
    places = {
        "search/nsga2": ("evonas.search.evolution.nsga2", NSGA2),
        "network/evonet": ("evonas.supernets.evonet.family", EvoNet),
        "objective/error": ("evonas.objectives.error", Error),
    }
    for name, (module, kind) in places.items():
        moved = type("Moved", (kind,), {"__module__": module, "__qualname__": "Moved"})
        monkeypatch.setattr(f"{module}.Moved", moved, raising=False)
        monkeypatch.setitem(MOVED, name, f"{module}.Moved")
    words = [f"search._target_={MOVED['search/nsga2']}", f"network._target_={MOVED['network/evonet']}"]
    words += [f"objective.error._target_={MOVED['objective/error']}", "space._target_=space/evonet"]
    command("run=small", *typed("small"), *words, "resume=true")
    assert_equal(facts("small"), continued("small"))


def test_a_pipeline_that_is_done_is_done(command: Command) -> None:
    said = command("run=small", "resume=true")
    steps = ["pretrain", "teacher", "supernet", "search", "select", "retrain", "evaluate", "export", "report"]
    assert all(f"{step}: done before" in said for step in steps)


def test_networks_that_are_trained_are_not_trained_again(command: Command) -> None:
    before = {path: weights.digest(Path("outputs/small", path)) for path in TRAINED}
    times = {path: Path("outputs/small", path).stat().st_mtime_ns for path in TRAINED}
    for stage in ("supernet", "retrain"):
        command(f"stage={stage}", "run=small", "resume=true")
    assert {path: weights.digest(Path("outputs/small", path)) for path in TRAINED} == before
    assert {path: Path("outputs/small", path).stat().st_mtime_ns for path in TRAINED} == times


def test_a_network_is_measured_again_under_its_fingerprint(command: Command) -> None:
    said = command("stage=measure", "run=small")
    assert "another fingerprint" not in said and "not searched" not in said


@pytest.mark.parametrize("run", BUDGETS)
def test_a_new_search_takes_over_old_facts_and_an_old_one_new_ones(command: Command, run: str) -> None:
    inputs = ["inputs=small"] if run == "small" else []
    taken = len(facts(run))
    said = command("run=new", *typed(run), *inputs, f"reuse={run}")
    assert f"{taken} measurements were taken over from reuse=." in said
    assert_equal(facts("new"), continued(run), prints=False)
    assert not fingerprints("new") & fingerprints(run)
    left = len(facts("new")) - taken
    said = command(f"run={run}", *typed(run), "resume=true", "reuse=new")
    assert f"{left} measurements were taken over from reuse=." in said
    assert_equal(facts(run), continued(run))


def test_what_is_written_now_says_ids(command: Command) -> None:
    command("run=new", *typed("small"), "inputs=small")
    with Archive.read(Path("outputs/new", ARCHIVE)) as archive:
        found = archive.meta
    found = {**found, "run": files.read_json(Path("outputs/new/run.json"))}
    assert list(texts(found)) and not [text for text in texts(found) if text.startswith("evonas.")]
    before = identified(files.read_json(FIXTURE / "outputs/small/run.json"))
    assert {key: found["run"][key] for key in _QUESTION} == {key: before[key] for key in _QUESTION}
