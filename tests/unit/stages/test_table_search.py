"""A tabular task from the command line: search, select, report; no stage that trains."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tables_written

from evonas.archive import Archive
from evonas.report.archive_reader import read
from evonas.stages import NEEDS_NO_NETWORK, TARGETS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    tables_written.nb201(tmp_path / "tables")
    return tmp_path / "tables"


def test_a_run_ends_in_a_report(evonas_command: Callable, tables: Path, tmp_path: Path) -> None:
    words = ("+task=nb201", f"data.root={tables}", "budget.evaluations=120", "run=one")
    ended = evonas_command(*words, "evaluator.objectives=[error,flops,edgegpu_latency]")
    assert ended.code == 0, ended.err
    assert "retrain: not needed" in ended.out and "[4/10] search" in ended.out
    folder = tmp_path / "outputs" / "one"
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    assert "the ideal point (error" in page and "test split" not in page and "stage=retrain" not in page
    nets = json.loads((folder / "selected.json").read_text(encoding="utf-8"))["nets"]
    assert {"error", "flops", "edgegpu_latency"} == set(nets[0]["objectives"])
    assert "max" not in {net["name"] for net in nets}
    facts = read(folder / "search/archive.sqlite")
    assert len(facts.genotypes) == 120
    assert facts.ideal is not None and facts.ideal[1] == pytest.approx(7.78305)
    assert facts.reference is not None and facts.reference[2] == 7.0
    assert facts.hypervolume is not None and 0 < facts.hypervolume < 1


def test_a_table_trains_no_network(evonas_command: Callable, tables: Path) -> None:
    ended = evonas_command(
        "+task=nb201", "stage=search", f"data.root={tables}", "fidelity=finetune", "run=one"
    )
    assert ended.code == 2 and "fidelity=full" in ended.err, ended.err
    assert "fidelity=finetune trains the networks of a supernet" in ended.err


def test_a_table_of_ones_own_is_searched(evonas_command: Callable, tmp_path: Path) -> None:
    command = own_table(tmp_path, error=np.arange(6.0)[::-1], ms=np.arange(6.0) ** 2)
    ended = evonas_command(*command, "stage=search")
    assert ended.code == 0, ended.err
    facts = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert len(facts.genotypes) == 6, "the whole space was asked, and nothing twice"
    assert facts.ideal == (0.0, 0.0) and facts.reference == (5.0, 25.0)


def test_a_searcher_may_know_a_counted_column(evonas_command: Callable, tables: Path, tmp_path: Path) -> None:
    target = "_target_: evonas.objectives.tabular.evaluator.KnownColumn, _recursive_: false"
    form = f'{{{target}, table: "${{data}}", column: flops}}'
    words = ("+task=nb201", "stage=search", f"data.root={tables}", "search=model_based", "run=one")
    ended = evonas_command(*words, "budget.evaluations=48", f"+search.analytic_objectives.flops={form}")
    assert ended.code == 0, ended.err
    assert len(read(tmp_path / "outputs/one/search/archive.sqlite").genotypes) == 48


def test_more_budget_goes_on(evonas_command: Callable, tables: Path, tmp_path: Path) -> None:
    first = ("+task=nb201", "stage=search", f"data.root={tables}", "run=one", "budget.population=20")
    assert evonas_command(*first, "budget.evaluations=40").code == 0
    again = evonas_command("stage=search", "run=one", "resume=true", "budget.evaluations=60")
    assert again.code == 0, again.err
    assert "40 points were known from the archive." in again.out
    assert len(read(tmp_path / "outputs/one/search/archive.sqlite").genotypes) == 60


def test_elsewhere_a_search_goes_on_with_its_own_table(
    evonas_command: Callable, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables == tmp_path / "tables"
    monkeypatch.chdir(tmp_path)
    first = ("+task=nb201", "stage=search", "data.root=tables", "run=one", "budget.population=20")
    assert evonas_command(*first, "budget.evaluations=40").code == 0
    other = tmp_path / "elsewhere"
    tables_written.nb201(other / "tables", c10_valid_naslib=tables_written.WORTH.repeat(3125))
    monkeypatch.chdir(other)
    words = ("stage=search", "run=one", "resume=true", "budget.evaluations=60")
    again = evonas_command(*words, f"outputs={tmp_path / 'outputs'}")
    assert again.code == 0, again.err
    assert "40 points were known from the archive." in again.out


def test_other_tables_cannot_go_on(evonas_command: Callable, tables: Path) -> None:
    first = ("+task=nb201", "stage=search", f"data.root={tables}", "run=one", "budget.evaluations=40")
    assert evonas_command(*first).code == 0
    tables_written.nb201(tables, c10_valid_naslib=tables_written.WORTH.repeat(3125))
    ended = evonas_command("stage=search", "run=one", "resume=true", "budget.evaluations=60")
    assert ended.code == 2 and "This search was started with" in ended.err


@pytest.mark.parametrize("stage", sorted(set(TARGETS) - NEEDS_NO_NETWORK))
def test_stages_that_need_a_network_say_so(evonas_command: Callable, tables: Path, stage: str) -> None:
    ended = evonas_command("+task=nb201", f"stage={stage}", f"data.root={tables}")
    assert ended.code == 2
    assert "Task nb201 has no network" in ended.err and "search, select, report" in ended.err
    assert not Path("outputs").exists()


def test_missing_tables_are_named(evonas_command: Callable) -> None:
    ended = evonas_command("+task=transnas_macro", "stage=search", "data.root=nowhere")
    assert ended.code == 3
    assert "transnas101_macro.npz does not exist" in ended.err and "TransNASBench" in ended.err


def own_table(folder: Path, **columns: np.ndarray) -> tuple[str, ...]:
    """A space, a task and a table of one's own, and the command that searches it."""
    task = (ROOT / "conf/task/nb201.yaml").read_text(encoding="utf-8")
    task = task.replace("/data: nb201", "/data: table").replace("/space: nb201", "/space: mine")
    axes = "axes: {k1: [3, 5, 7], a1: [relu, gelu]}"
    for name, text in {
        "task/mine.yaml": task.replace("[error, flops]", "[error, ms]"),
        "space/mine.yaml": f"_target_: evonas.space.declared.declared_space\nname: mine\n{axes}\n",
    }.items():
        (folder / "conf" / name).parent.mkdir(parents=True)
        (folder / "conf" / name).write_text(text, encoding="utf-8")
    words = [[str(k), a] for k in (3, 5, 7) for a in ("relu", "gelu")]
    np.savez(folder / "mine.npz", words=words, **columns)
    return f"--config-dir={folder / 'conf'}", "+task=mine", f"data.root={folder / 'mine.npz'}", "run=one"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_entry_without_a_finite_number_is_a_failure(
    evonas_command: Callable, tmp_path: Path, value: float
) -> None:
    error = np.arange(6.0)
    error[2] = value
    ended = evonas_command(*own_table(tmp_path, error=error, ms=np.arange(6.0)[::-1]))
    assert ended.code == 0, ended.err
    facts = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert facts.ideal == (0.0, 0.0) and facts.reference == (5.0, 5.0)
    assert len(facts.genotypes) == 5 and facts.hypervolume is not None and 0 < facts.hypervolume < 1
    with Archive.read(tmp_path / "outputs/one/search/archive.sqlite") as archive:
        [failed] = [each for each in archive.evaluations() if each.state == "failed"]
    assert "the table mine has no error for 5,relu" in failed.reason


def test_a_column_without_a_finite_number_is_named(evonas_command: Callable, tmp_path: Path) -> None:
    ended = evonas_command(*own_table(tmp_path, error=np.full(6, np.inf), ms=np.arange(6.0)))
    assert ended.code == 3
    assert "Column 'error' of the table mine has no finite value" in ended.err
    # before the first stage
    assert "[1/" not in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("+task=macro", "data.root=x.json"), "x.json is a file, and data.root must be the folder of nas-"),
        (("+task=nb201", "data.root=x.json"), "x.json is a file, and data.root must be the folder of nb201"),
        (("+task=nb101", "data.root=x.json"), "x.json is a file, and data.root must be the folder of nasb"),
    ],
)
def test_a_file_in_place_of_its_folder_is_told_at_once(
    evonas_command: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_text("{}")
    ended = evonas_command(*words)
    assert ended.code == 3 and said in ended.err and "[1/" not in ended.out


def test_rules_are_typed_as_the_documentation_says(
    evonas_command: Callable, tables: Path, tmp_path: Path
) -> None:
    first = ("+task=nb201", "stage=search", f"data.root={tables}", "run=one", "budget.evaluations=40")
    assert evonas_command(*first).code == 0
    ended = evonas_command("stage=select", "run=one", "select.rules=[knee,flops<=60]")
    assert ended.code == 0, ended.err
    nets = json.loads((tmp_path / "outputs/one/selected.json").read_text(encoding="utf-8"))["nets"]
    assert any("flops<=60" in net["name"] or net["objectives"]["flops"] <= 60 for net in nets)


def test_a_run_never_imports_torch(tables: Path, tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from evonas.cli import main; code = main(); "
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    words = ["+task=nb201", f"data.root={tables}", "budget.evaluations=40", f"outputs={tmp_path}"]
    ended = subprocess.run([sys.executable, "-c", code, *words], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_search_of_one_objective_refuses_others(
    evonas_command: Callable, tables: Path, tmp_path: Path
) -> None:
    words = ("+task=nb201", "stage=search", f"data.root={tables}", "budget.evaluations=60", "run=one")
    for more, named in {
        ("search=ednag_paper",): "uses one objective, error, and would pass over the others of error, flops",
        ("search=regularized", "search.weights=[1,2,3]"): "search.weights has 3 numbers for 2 objectives",
    }.items():
        ended = evonas_command(*words, *more)
        assert ended.code == 2 and named in ended.err
        # the run may start with another command
        assert not (tmp_path / "outputs/one/search/archive.sqlite").exists()
    alone = evonas_command(*words, "search=ednag_paper", "evaluator.objectives=[error]")
    assert alone.code == 0, alone.err
    two = evonas_command(*words[:-1], "run=two", "search=regularized", "search.weights=[1,0]")
    assert two.code == 0, two.err


def test_what_selected_json_says_is_held_against_the_archive(
    evonas_command: Callable, tables: Path, tmp_path: Path
) -> None:
    words = ("+task=nb201", f"data.root={tables}", "budget.evaluations=60", "run=one")
    assert evonas_command(*words, "stage=search").code == 0
    assert evonas_command("stage=select", "run=one").code == 0
    path = tmp_path / "outputs/one/selected.json"
    assert evonas_command("report", "run=one").code == evonas_command("show", "run=one").code == 0
    honest = json.loads(path.read_text())
    altered = json.loads(path.read_text())
    altered["nets"][0]["objectives"]["flops"] *= 0.5
    path.write_text(json.dumps(altered))
    for look in (("report", "run=one"), ("show", "run=one")):
        ended = evonas_command(*look)
        assert ended.code == 3 and "selected.json gives network 'knee' flops" in ended.err
        assert "stage=select" in ended.err
    altered = honest | {"metrics": {"knee": {"error": 0.0}}}
    path.write_text(json.dumps(altered))
    assert "gives network 'knee' error 0.0" in evonas_command("report", "run=one").err
    # values of a network that the search never measured
    altered = json.loads(json.dumps(honest))
    altered["nets"][0]["genotype"] = altered["nets"][0]["genotype"].replace("e=", "e=x", 1)
    path.write_text(json.dumps(altered))
    for look in (("report", "run=one"), ("show", "run=one")):
        ended = evonas_command(*look)
        assert ended.code == 3 and "gives network 'knee' values, but the archive has none of" in ended.err
    assert evonas_command("stage=select", "run=one").code == 0
    assert json.loads(path.read_text()) == honest
