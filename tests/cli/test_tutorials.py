"""The tutorials are true: their files are written as they stand, and their commands run, in small."""

import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evonas import files

BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
# as the tutorial's commands, with less of everything
SMALL = (
    "trainer=debug",
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
SCENES = ("data.train=8", "data.holdout=4", "data.test=4")
pytestmark = pytest.mark.usefixtures("one_thread")


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Language, file and content of every block of a tutorial."""
    yield from BLOCK.findall((FOLDER / page).read_text(encoding="utf-8"))


@pytest.fixture
def follow(
    evonas_command: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Does what a page says in an empty folder."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def do(page: str, *small: str) -> None:
        for language, path, content in blocks(page):
            if path:
                files.write_text(tmp_path / path, content)
                continue
            assert language == "bash", f"a block of {language} is never run"
            for line in content.splitlines():
                run_line(shlex.split(line), small)

    def run_line(words: list[str], small: tuple[str, ...]) -> None:
        if words[:3] != ["python", "-m", "evonas"]:
            assert words[0] == "python" and len(words) == 2
            runpy.run_path(words[1], run_name="__main__")
            return
        added = small if any(word.startswith("+task=") for word in words) else ()
        ended: object = evonas_command(*words[3:], *added)
        assert getattr(ended, "code", None) == 0, getattr(ended, "err", "")

    yield do
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("foreground", "leaves"):
            del sys.modules[name]


def test_bring_your_own_task(follow: Callable[..., None], tmp_path: Path) -> None:
    follow("bring_your_own_task.md", *SMALL, *SCENES)
    run = tmp_path / "outputs/first"
    assert (run / "report/index.html").exists()
    tested = files.read_json(run / "evaluate/test.json")
    assert tested["baseline"]["name"] == "no object anywhere"
    assert 0 < tested["baseline"]["metrics"]["wrong"] < 0.6
    recorded = (run / "attempts/001/overrides.yaml").read_text()
    assert f"--config-dir={tmp_path / 'conf'}" in recorded


@pytest.mark.slow
def test_bring_your_own_data(follow: Callable[..., None], tmp_path: Path) -> None:
    follow("bring_your_own_data.md", *SMALL)
    for run in ("leaves", "again"):
        tested = files.read_json(tmp_path / "outputs" / run / "evaluate/test.json")
        assert tested["num_images"] == 6 and tested["error_name"] == "one_minus_miou"
    [net] = files.read_json(tmp_path / "outputs/again/selected.json")["nets"]
    assert net["transferred"]["from"] == "knee of run leaves"


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
