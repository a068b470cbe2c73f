"""The tutorials are true: their files are written as they stand, and their commands run, in small."""

import os
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pages
import pytest

from evonas import files
from evonas.archive import Archive

# as the tutorial's commands, with less of everything
SMALL = (
    "limits=debug",
    "distill=none",
    "hardware.workers=0",
    "objective=[error,macs]",
    "~stage.steps.export",
)
SMALL += (
    "data.height=32",
    "data.width=32",
    "budget.population=3",
    "budget.evaluations=3",
    "train.panel_random=1",
)
SMALL += ("network.dims=[8,8,16,16]", "network.heads=[2,2,2,2]", "network.stem_dim=8", "head.width=8")
SCENES = ("data.train=8", "data.validation=4", "data.test=4")
OWN_PACKAGES = ("foreground", "leaves", "perceptrons", "climber", "device")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def follow(
    evonas_command: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Does what a page says in an empty folder."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def do(page: str, *small: str, commands: bool = True) -> None:
        names: dict[str, object] = {}
        for block in pages.blocks(f"docs/{page}"):
            if block.path:
                files.write_text(tmp_path / block.path, block.content)
            elif block.language == "python":
                exec(compile(block.content, page, "exec"), names)
            elif block.language == "bash":
                for line in block.content.splitlines():
                    if commands or "evonas" not in line:
                        run_line(shlex.split(line), small)

    def run_line(words: list[str], small: tuple[str, ...]) -> None:
        if words[:3] != ["python", "-m", "evonas"]:
            assert words[0] == "python" and len(words) == 2
            runpy.run_path(words[1], run_name="__main__")
            return
        # what a run is given first it remembers
        added = () if "--cfg" in words or not any(word.startswith("+task=") for word in words) else small
        ended: object = evonas_command(*words[3:], *added)
        assert getattr(ended, "code", None) == 0, getattr(ended, "err", "")

    yield do
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in OWN_PACKAGES:
            del sys.modules[name]


def test_bring_your_own_task(follow: Callable[..., None], tmp_path: Path) -> None:
    follow("tutorials/bring_your_own_task.md", *SMALL, *SCENES)
    run = tmp_path / "outputs/first"
    assert (run / "report/index.html").exists()
    tested = files.read_json(run / "evaluate/test.json")
    assert tested["baseline"]["name"] == "no object anywhere"
    assert 0 < tested["baseline"]["metrics"]["wrong"] < 0.6
    recorded = (run / "attempts/001/overrides.yaml").read_text()
    assert f"--config-dir={tmp_path / 'conf'}" in recorded


@pytest.mark.slow
def test_bring_your_own_data(follow: Callable[..., None], tmp_path: Path) -> None:
    follow("tutorials/bring_your_own_data.md", *SMALL)
    for run in ("leaves", "again"):
        tested = files.read_json(tmp_path / "outputs" / run / "evaluate/test.json")
        assert tested["num_images"] == 6 and tested["error_name"] == "one_minus_miou"
    [net] = files.read_json(tmp_path / "outputs/again/selected.json")["nets"]
    assert net["transferred"]["from"] == "knee of run leaves"


def test_bring_your_own_model(follow: Callable[..., None], tmp_path: Path) -> None:
    small = ("limits=debug", "hardware.workers=0", "data.height=32", "data.width=32", "data.crop=[32,32]")
    small += ("budget.population=4", "budget.evaluations=8", "head.width=8", "train.panel_random=0")
    small += ("objective=[error,macs]", "train.baseline_budgets=[total]")
    follow("tutorials/bring_your_own_model.md", *small)
    run = tmp_path / "outputs/mine"
    chosen = {net["name"]: net for net in files.read_json(run / "selected.json")["nets"]}
    assert {"knee", "max"} <= set(chosen)
    for name in chosen:
        assert files.read_json(run / f"retrain/{name}/result.json")["genotype"] == chosen[name]["genotype"]
        assert (run / f"export/{name}/model.onnx").exists()
    whole, *scaled = files.read_json(run / "baselines/baselines.json")["networks"]
    assert whole["origin"]["weights"].endswith("resnet18.safetensors") and len(scaled) == 2
    assert all("starts from" in each["matched"] for each in scaled)


@pytest.mark.slow
def test_bring_your_own_space(follow: Callable[..., None], tmp_path: Path) -> None:
    small = ("hardware.workers=0", "budget.population=4", "budget.evaluations=8")
    follow("tutorials/bring_your_own_space.md", *small)
    levels = files.read_json(tmp_path / "outputs/narrow/levels/levels.json")
    assert len(levels["levels"]) == 3
    with Archive.read(tmp_path / "outputs/digits/search/archive.sqlite") as archive:
        facts = list(archive.evaluations())
    assert len(facts) == 8 and all(fact.state == "done" for fact in facts)
    assert min(fact.objectives["error"] for fact in facts) < 0.2
    params = {fact.genotype: fact.objectives["params"] for fact in facts}
    assert len(set(params.values())) > 3, "networks of several sizes"


def test_a_searcher_of_the_users_own_finds_more_than_chance(
    follow: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    follow("tutorials/bring_your_own_searcher.md", commands=False)
    points, best = map(int, re.findall(r"(\d+) (?:points|of them)", capsys.readouterr().out))
    assert points == 160 and best > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "run", "names"),
    [
        ("searcher", "climb", ["error", "macs"]),
        ("device", "board", ["error", "device"]),
    ],
)
def test_own_searchers_and_devices_search_networks(
    follow: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    run: str,
    names: list[str],
) -> None:
    # `python` is this one, as in an environment that was activated
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    small = [word for word in (*SMALL, *SCENES) if page == "searcher" or "objective" not in word]
    follow(f"tutorials/bring_your_own_{page}.md", *small)
    with Archive.read(tmp_path / "outputs" / run / "search/archive.sqlite") as archive:
        assert archive.meta["objectives"] == names
        assert {fact.state for fact in archive.evaluations()} == {"done"}


STAGES = (
    "pretrain",
    "teacher",
    "supernet",
    "cost_levels",
    "latency_table",
    "search",
    "select",
    "retrain",
    "evaluate",
)
STAGES += ("export", "report", "rank", "discover", "measure", "looking", "doctor", "check")
WITHOUT_EXPORT = "~stage.steps.export"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_stage_as_its_page_says(follow: Callable[..., None], tmp_path: Path) -> None:
    small = [word for word in (*SMALL, *SCENES) if word not in (WITHOUT_EXPORT, "distill=none")]
    for stage in STAGES:
        follow(f"stages/{stage}.md", *small, "select.include_max=false")
    made = {path.parent.name for path in (tmp_path / "outputs/mine").glob("*/*.json")}
    assert {"teacher", "supernet", "levels", "lookup", "evaluate", "rank", "discover", "measure"} <= made
    for name in re.findall(r"^  (\S+)  ", pages.read("docs/stages/export.md"), re.MULTILINE):
        assert (tmp_path / "outputs/mine/export/knee" / name).exists()
    assert (tmp_path / "outputs/mine/report/index.html").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_five_minutes_and_what_comes_after(follow: Callable[..., None], tmp_path: Path) -> None:
    # the pictures of deploy.md are as large as the demo's
    left_out = (WITHOUT_EXPORT, "data.height", "data.width")
    small = [word for word in (*SMALL, *SCENES) if not word.startswith(left_out)]
    follow("five_minutes.md", *small, "select.include_max=false")
    follow("deploy.md")
    assert len(list((tmp_path / "outputs").glob("*/search/archive.sqlite"))) == 3


PACKAGE = {
    "mine/__init__.py": "",
    "mine/task.py": "from os import getcwd\n\nclass Task:\n    pass\n",
    "conf/task/mine.yaml": "# @package _global_\n# Mine.\ntask: {_target_: mine.task.Task, name: mine}\n",
    "conf/task/sly.yaml": "# @package _global_\n# Sly.\npackages: [mine]\ntask: {_target_: mine.task.Task}\n",
}


@pytest.mark.parametrize(
    ("words", "said", "hinted"),
    [
        (["+task=mine"], "mine.task.Task` is not allowed", "packages=[<package>]"),
        (["+task=sly"], "whose code is run is yours to say", "packages=[mine]"),
        (["+task=mine", "packages=[absent]", "task._target_=absent.Task"], "no package 'absent'", "Install"),
        (["+task=mine", "packages=[mine]", "task._target_=mine.task.getcwd"], "is not allowed", "packages="),
    ],
)
def test_whose_code_is_run_is_said_on_the_command_line(
    words: list[str],
    said: str,
    hinted: str,
    evonas_command: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for path, content in PACKAGE.items():
        files.write_text(tmp_path / path, content)
    small = ("stage=select", "select.rules=[]", "select.include_max=false")
    ended: object = evonas_command("--config-dir", "conf", *words, *small)
    assert getattr(ended, "code", None) == 2
    shown = getattr(ended, "err", "")
    assert said in shown and hinted in shown
