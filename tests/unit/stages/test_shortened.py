"""A debug run says so: on the console, and for ever after in what people read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from evonas import files
from evonas.cli import conf_dir
from evonas.stages.shortened import _CHOICES, shortened, shortened_in


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["+task=synthetic", "limits=debug"], "Debug run (limits=debug): every training is cut to one epoch"),
        # its name in the first release
        (["+task=synthetic", "trainer=debug"], "Debug run (limits=debug)"),
        (["+debug=fast"], "Debug run (debug=fast)"),
        (
            ["limits.max_batches=3"],
            "Shortened run (limits.max_batches=3): every training is cut, and the numbers mean",
        ),
        (["limits.max_epochs=1"], "Shortened run (limits.max_epochs=1)"),
        (["limits.max_epochs=null"], ""),
        (["limits=debug", "limits=none"], ""),
        (["+task=synthetic", "limits=published", "--config-dir=x"], ""),
        (["+debug=anomaly"], ""),
    ],
)
def test_words_that_cut_trainings_short(words: list[str], told: str) -> None:
    found = shortened(words)
    assert found.startswith(told) and bool(found) == bool(told)


def test_every_choice_of_a_debug_run_is_known() -> None:
    known = {*_CHOICES, "debug=anomaly"}
    assert known == {f"debug={path.stem}" for path in (conf_dir() / "debug").glob("*.yaml")} | {
        "limits=debug"
    }


def test_a_run_remembers(tmp_path: Path) -> None:
    for number, words in enumerate((["limits=debug", "stage=report"], ["stage=supernet", "limits=debug"]), 1):
        files.write_text(tmp_path / f"attempts/{number:03d}/overrides.yaml", yaml.safe_dump(words))
        assert bool(shortened_in(tmp_path)) == (number == 2)
    files.write_json(tmp_path / "attempts/002/end.json", {"code": 2})
    assert not shortened_in(tmp_path), "a refused command made no results"


def test_the_console_says_so_before_it_begins(evonas_command: Callable) -> None:
    ended = evonas_command("+task=synthetic", "stage=search", "run=a", "limits=debug")
    assert ended.code == 2 and ended.out.startswith("Debug run (limits=debug)")
