"""Commands that are printed run as they stand, also where folders have odd names."""

import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tables_written

from evonas.cli import _stopped
from evonas.command_text import setting
from evonas.run import Run

ODD = "o=' \"ü[]{},#$(a):~"


def pasted(line: str) -> list[str]:
    """The words behind `python -m evonas` in the last printed command, as a shell hands them over."""
    words = shlex.split(line[line.rindex("python -m evonas") :])
    assert words[:3] == ["python", "-m", "evonas"]
    return words[3:]


def test_each_printed_command_leads_on_in_a_folder_of_an_odd_name(
    evonas_command: Callable, tmp_path: Path
) -> None:
    tables_written.nb201(tmp_path / ODD / "tables")
    root = setting("data.root", str(tmp_path / ODD / "tables"))
    words = ("+task=nb201", "budget.evaluations=32", "search=random", root, setting("outputs", ODD))
    ended = evonas_command(*words, "run=a", "stage=search")
    assert ended.code == 0, ended.err
    # search -> select -> report, each with what the one before it printed
    for stage in ("select", "report"):
        typed = pasted(ended.out)
        assert f"stage={stage}" in typed
        ended = evonas_command(*typed)
        assert ended.code == 0, ended.err
    ended = evonas_command("list", setting("outputs", ODD))
    assert ended.code == 0 and evonas_command(*pasted(ended.out)).code == 0
    shown = evonas_command("show", "run=a", setting("outputs", ODD))
    assert "networks=" in pasted(shown.out)[-1] or "networks=" in pasted(shown.out)[-2]
    again = evonas_command("stage=search", "run=a", setting("outputs", ODD))
    assert again.code == 2 and "resume=true" in again.err


@pytest.mark.parametrize("stage", ["run", "search"])
def test_after_a_signal_the_way_on_is_quoted(
    stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / ODD / "a", "toy", attempt=tmp_path / ODD / "a/attempts/001")
    assert _stopped(run, stage, signal.SIGTERM) == 143
    words = pasted(capsys.readouterr().out)
    assert words[-1] == setting("outputs", str(tmp_path / ODD))
    assert words[:-1] == [*([] if stage == "run" else ["stage=search"]), "run=a", "resume=true"]
