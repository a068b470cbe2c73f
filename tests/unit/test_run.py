"""The run directory: names, identity, attempts, finding, markers."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

import evonas
from evonas import files
from evonas.errors import DataError, UserError
from evonas.run import (
    attempts_of,
    close_run,
    end_attempt,
    find_run,
    list_runs,
    open_run,
    recorded_overrides,
    task_name,
)
from evonas.schema import Config

TYPED = ["+task=toy", "seed=1"]


def composed(outputs: Path, **changed: Any) -> DictConfig:
    values = {
        "space": {"a": 1},
        "network": {"dims": [1, 2]},
        "task": {"name": "toy"},
        "data": {"root": "x", "n": 3},
    }
    cfg = OmegaConf.merge(
        OmegaConf.structured(Config), {**values, "seed": 1, "outputs": str(outputs), **changed}
    )
    assert isinstance(cfg, DictConfig)
    return cfg


def test_a_new_run_has_a_name_an_identity_and_a_record(tmp_path: Path) -> None:
    run = open_run(composed(tmp_path), TYPED)
    assert run.task == "toy"
    assert run.name.startswith("toy-")
    assert len(run.name.rsplit("-", 1)[1]) == 4
    assert run.directory.stat().st_mode & 0o777 == 0o700
    identity = files.read_json(run.directory / "run.json")
    assert identity["seed"] == 1
    assert identity["version"] == evonas.__version__
    assert identity["task"]["name"] == "toy"
    assert run.attempt == run.directory / "attempts" / "001"
    assert OmegaConf.load(run.attempt / "overrides.yaml") == TYPED
    assert OmegaConf.load(run.attempt / "config.yaml").network.dims == [1, 2]


def test_commands_in_the_same_second_get_different_runs(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: open_run(composed(tmp_path), TYPED), range(16)))
    assert len({run.directory for run in runs}) == 16


def test_the_identity_is_written_once(tmp_path: Path) -> None:
    path = open_run(composed(tmp_path, run="mine"), TYPED).directory / "run.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    open_run(composed(tmp_path, run="mine"), TYPED)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert sorted(each.name for each in (path.parent / "attempts").iterdir()) == ["001", "002"]


@pytest.mark.parametrize(
    ("changed", "typed", "key"),
    [
        ({"seed": 2}, TYPED, "seed"),
        ({"space": {"a": 2}}, TYPED, "space.a"),
        ({"network": {"dims": [1, 3]}}, TYPED, "network.dims"),
        ({"data": {"n": 4, "root": "x"}}, TYPED, "data.n"),
        ({"task": {"name": "other"}}, TYPED, "task.name"),
        ({}, ["+task=other"], "task"),
    ],
)
def test_another_question_is_refused_by_key(changed: Any, typed: list[str], key: str, tmp_path: Path) -> None:
    close_run(open_run(composed(tmp_path, run="mine"), TYPED))
    with pytest.raises(UserError, match=f"has {key}=") as caught:
        open_run(composed(tmp_path, run="mine", **changed), typed)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "mine" / "attempts" / "002").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"budget": {"evaluations": 9999}},
        {"hardware": {"workers": 9}},
        {"tracker": {"x": 1}},
        {"data": {"root": "y", "n": 3}},
    ],
)
def test_another_effort_is_accepted(changed: Any, tmp_path: Path) -> None:
    open_run(composed(tmp_path, run="mine"), TYPED)
    assert (
        open_run(composed(tmp_path, run="mine", **changed), TYPED).attempt == tmp_path / "mine/attempts/002"
    )


def test_last_is_the_newest_by_creation_not_by_name(tmp_path: Path) -> None:
    for name in ("zebra", "apple"):
        open_run(composed(tmp_path, run=name), TYPED)
    assert find_run(tmp_path, "last").name == "apple"
    assert open_run(composed(tmp_path, run="last"), TYPED).name == "apple"
    assert [each["directory"].name for each in list_runs(tmp_path)] == ["zebra", "apple"]


def test_last_is_no_command_that_was_refused(tmp_path: Path) -> None:
    """Unless it has made something, or there is no other."""
    first, refused = (open_run(composed(tmp_path, run=name), TYPED) for name in ("first", "refused"))
    assert find_run(tmp_path, "last").name == "refused"
    end_attempt(refused, 2)
    refused.path("search/archive.sqlite")
    assert find_run(tmp_path, "last").name == "first"
    end_attempt(first, 2)
    assert find_run(tmp_path, "last").name == "refused"
    files.write_json(first.path("supernet/panel.json"), {})
    assert find_run(tmp_path, "last").name == "first"


@pytest.mark.parametrize("code", [None, 0, 1, 3, 130])
def test_last_may_have_failed(code: int | None, tmp_path: Path) -> None:
    for name in ("first", "failed"):
        run = open_run(composed(tmp_path, run=name), TYPED)
    if code is not None:
        end_attempt(run, code)
    assert find_run(tmp_path, "last").name == "failed"


def test_unknown_inputs_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run 'nobody'"):
        open_run(composed(tmp_path, inputs="nobody"), TYPED)
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_last_without_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        find_run(tmp_path, "last")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-m", "a b", "x" * 200])
def test_names_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be the name"):
        open_run(composed(tmp_path, run=name), TYPED)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(UserError, match="not a run"):
        open_run(composed(tmp_path, run="photos"), TYPED)


@pytest.mark.parametrize("text", ["{", "[]", '{"created": "x"}'])
def test_a_damaged_identity_is_a_data_error(text: str, tmp_path: Path) -> None:
    open_run(composed(tmp_path, run="mine"), TYPED)
    (tmp_path / "mine" / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json"):
        open_run(composed(tmp_path, run="mine"), TYPED)


def test_results_come_from_the_run_then_from_its_inputs(tmp_path: Path) -> None:
    source = open_run(composed(tmp_path, run="source"), TYPED)
    files.write_text(source.path("supernet/x"), "theirs")
    run = open_run(composed(tmp_path, run="mine", inputs="source"), TYPED)
    assert run.need("supernet/x", made_by="supernet").read_text() == "theirs"
    files.write_text(run.path("supernet/x"), "ours")
    assert run.need("supernet/x", made_by="supernet").read_text() == "ours"
    with pytest.raises(UserError) as caught:
        run.need("selected.json", made_by="select")
    place = run.directory.parent
    assert caught.value.hint == f"Make it with: python -m evonas stage=select run=mine outputs={place}"


def test_unknown_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'nobody'"):
        open_run(composed(tmp_path, inputs="nobody"), TYPED)


def test_recorded_overrides_leave_out_what_belongs_to_a_command(tmp_path: Path) -> None:
    typed = [
        "+task=toy",
        "stage=search",
        "run=mine",
        "resume=true",
        "seed=1",
        "hydra.verbose=true",
        "a.api_key=x",
    ]
    run = open_run(composed(tmp_path, run="mine"), typed)
    assert recorded_overrides(run.directory) == ["+task=toy", "seed=1"]


def test_markers_hold_for_equal_settings_only(tmp_path: Path) -> None:
    run = open_run(composed(tmp_path), TYPED)
    assert not run.done("search", {"budget": 1})
    run.mark_done("search", {"budget": 1})
    assert run.done("search", {"budget": 1})
    assert not run.done("search", {"budget": 2})
    assert not run.done("select", {"budget": 1})


def test_the_task_is_the_last_one_typed() -> None:
    assert task_name(["seed=1", "+task=a", "+task=b"]) == "b"
    assert task_name(["task.x=1"]) == ""


def test_a_second_driver_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    open_run(composed(tmp_path, run="mine"), TYPED)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_run import TYPED, composed, open_run
open_run(composed(Path({str(tmp_path)!r}), run="mine"), TYPED)
"""
    place = Path(evonas.__file__).parent.parent
    ended = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert "is in use by process" in ended.stderr
    assert not (tmp_path / "mine" / "attempts" / "002").exists()


def test_readers_need_no_lock(tmp_path: Path) -> None:
    close_run(open_run(composed(tmp_path, run="mine"), TYPED))
    reader = open_run(composed(tmp_path, run="mine"), TYPED, lock_it=False)
    assert reader.attempt == tmp_path / "mine/attempts/002"
    assert (tmp_path / "mine" / ".lock").read_text() == ""


def test_commands_are_in_the_order_of_their_numbers_and_not_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (999, 1000, 2, 1):
        (tmp_path / f"attempts/{number:03d}").mkdir(parents=True)
    (tmp_path / "attempts/notes").mkdir()
    assert [each.name for each in attempts_of(tmp_path)] == ["001", "002", "999", "1000"]
    monkeypatch.setattr("evonas.run.MAX_ATTEMPTS", 2)
    assert [each.name for each in attempts_of(tmp_path)] == ["999", "1000"]


PLACED = [
    "+task=toy",
    "data.root=data",
    "data.lists=lists",
    "data.classes=[a,b]",
    "network.weights=w.pth",
    "seed=1",
]


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], typed: list[str]) -> Path:
    """A run whose first command was typed in `folder`, which holds data, lists and weights."""
    for name in ("data", "lists", "w.pth"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("EVONAS_DATA", raising=False)
    network = {"weights": "w.pth"}
    run = open_run(composed(folder / "out", run="mine", data=data, network=network), typed)
    close_run(run)
    return run.directory


def test_elsewhere_relative_paths_are_those_of_the_first_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "it's 1, [x]=y"
    directory = begun(home, monkeypatch, {"root": "data", "lists": "lists", "classes": ["a", "b"]}, PLACED)
    assert recorded_overrides(directory) == PLACED
    monkeypatch.chdir(tmp_path)
    # as Hydra reads them
    found = OverridesParser.create().parse_overrides(recorded_overrides(directory))
    values = {each.key_or_group: each.value() for each in found}
    assert values.pop("paths.data") == str(home / "data")
    assert values == {
        "task": "toy",
        "data.root": str(home / "data"),
        "data.lists": str(home / "lists"),
        "data.classes": ["a", "b"],
        "network.weights": str(home / "w.pth"),
        "seed": 1,
    }
    # the same data is no other question, whatever the place that it is named from
    again = {"root": str(home / "data"), "lists": str(home / "lists"), "classes": ["a", "b"]}
    network = {"weights": str(home / "w.pth")}
    open_run(composed(home / "out", run="mine", data=again, network=network), PLACED)
    with pytest.raises(UserError, match=r"has data.lists=.*x.=y/lists, and this command says .*/lists"):
        (tmp_path / "lists").mkdir()
        other = {"root": "data", "lists": "lists", "classes": ["a", "b"]}
        open_run(composed(home / "out", run="mine", data=other, network=network), PLACED)


def test_elsewhere_a_default_place_is_that_of_the_first_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = begun(tmp_path / "a", monkeypatch, {"root": "data"}, ["+task=toy"])
    below = begun(tmp_path / "b", monkeypatch, {"root": "${paths.data}/set"}, ["+task=toy"])
    monkeypatch.chdir(tmp_path)
    here = f"{tmp_path}/a/data"
    assert recorded_overrides(plain) == ["+task=toy", f"data.root={here}", f"paths.data={here}"]
    assert recorded_overrides(below) == ["+task=toy", f"paths.data={tmp_path}/b/data"]
    # a project that moved as a whole finds what it holds
    (tmp_path / "a").rename(tmp_path / "c")
    monkeypatch.chdir(tmp_path / "c")
    assert recorded_overrides(tmp_path / "c/out/mine") == ["+task=toy"]
    # data that has gone is looked for where the present command says
    (tmp_path / "b/data").rmdir()
    assert recorded_overrides(below) == ["+task=toy"]


def test_words_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = [
        "+task=toy",
        "network=data",
        "objective.zero_cost.weights=random",
        "data.lists=null",
        "data.n=lists",
    ]
    directory = begun(tmp_path / "a", monkeypatch, {"n": 1}, typed)
    monkeypatch.chdir(tmp_path)
    assert recorded_overrides(directory)[:5] == typed


def test_a_run_that_recorded_no_place_inherits_what_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = begun(tmp_path / "a", monkeypatch, {"root": "data"}, PLACED)
    identity = files.read_json(directory / "run.json")
    files.write_json(directory / "run.json", {key: identity[key] for key in identity if key != "places"})
    monkeypatch.chdir(tmp_path)
    assert recorded_overrides(directory) == PLACED
