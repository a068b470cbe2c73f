"""What is printed can be pasted: through a shell, the command line's own sugar, and Hydra."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from evonas import cli_args, schema
from evonas.cli_errors import COMPLAINTS, explain
from evonas.command_text import command, setting, shell
from evonas.config import typed_value
from evonas.run import Run

ODD = "ab1= '\"ü[]{},#$():\n\t-\\/.~%!*?&|;<>`+@^é"
NAMES = [
    "a=b", "it's", 'say "so"', "grüße", "[x]", "{x}", "a,b", "a#b", "$HOME", "${seed}", "a b", " a ", "(a)", "a:b",
    "two\nlines", "-m", "--help", "true", "null", "1e3", "back\\slash", "end\\", 'end\\"', "\\${a}", "~", "",
]  # fmt: skip


def read(word: str) -> Any:
    """The value of an override as Hydra and OmegaConf read it."""
    return OmegaConf.create({"it": OverridesParser.create().parse_override(word).value()}).it


@given(st.text(st.sampled_from(list(ODD)), max_size=10))
@example("${")
@example("a\\\\${b}\\")
def test_hydra_reads_the_text_that_was_meant(text: str) -> None:
    assert read(setting("data.root", text)) == text
    assert shlex.split(shell([setting("data.root", text)])) == [setting("data.root", text)]


@pytest.mark.parametrize("value", [1, 0.5, True, None, "1", "true", ["a b", 2], {"a": "b,c"}, Path("/a b")])
def test_other_values_keep_their_type(value: Any) -> None:
    read_back = read(setting("x", value))
    assert read_back == (str(value) if isinstance(value, Path) else value)


def test_a_real_shell_hands_over_every_odd_name() -> None:
    words = [setting("outputs", name) for name in NAMES]
    line = shell(["printf", r"%s\0", *words])
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == words
    assert [typed_value(word) for word in words] == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name and "${" not in name])
def test_the_command_of_a_run_leads_back_to_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path / name / "mine", "toy")
    words = shlex.split(run.command("search", "resume=true"))
    assert words[:3] == ["python", "-m", "evonas"]
    rewritten = cli_args.rewrite(words[3:])
    found = {cli_args.setting(each)[0]: typed_value(each) for each in cli_args.overrides(rewritten)}
    assert Path(found["outputs"]) == tmp_path / name
    assert (found["stage"], found["run"], found["resume"]) == ("search", "mine", "true")


def test_plain_words_stay_as_people_type_them() -> None:
    assert command("stage=select", setting("run", "first"), outputs="outputs") == (
        "python -m evonas stage=select run=first"
    )
    assert setting("networks", "run:a#knee") == "networks=run:a#knee"
    assert shell([setting("networks", "run:a#knee")]) == "'networks=run:a#knee'"
    assert setting("data.root", "/data/kitti") == "data.root=/data/kitti"


@pytest.mark.parametrize(
    "name", [*NAMES[:-1], "run:a b#knee", "/x [1]/selected.json#max", "a, b.sqlite#best"]
)
def test_a_named_network_is_read_as_it_was_printed(name: str) -> None:
    [word] = [each for each in cli_args.rewrite([setting("networks", name)]) if each.startswith("networks=")]
    assert read(word) == name


@pytest.mark.parametrize("path", ["/a=b", "/grüße", "/a(1)", "/a,b", "/x#1", "/a[0]", "it's"])
def test_a_path_that_hydra_cannot_read_is_said_with_quotes(path: str, root: Path) -> None:
    word = f"data.root={path}"
    with initialize_config_dir(str(root / "conf"), version_base="1.3"), pytest.raises(COMPLAINTS) as caught:
        schema.register()
        compose("config", overrides=[word])
    said = explain(caught.value, ["seed=1", word], root / "conf")
    [typed] = shlex.split(said.hint.partition("type: ")[2])
    assert read(typed) == path and said.exit_code == 2


def test_no_other_module_writes_a_command_with_a_value_in_it(root: Path) -> None:
    written = re.compile(r"python -m evonas[^\"'`]*\{")
    found = [
        f"{path.name}: {line.strip()}"
        for path in (root / "evonas").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if written.search(line)
    ]
    assert found == []
