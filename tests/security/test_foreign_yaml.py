"""YAML of somebody else sets values; it neither grows, nor calls, nor reads what is secret."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from evonas import config, run

BOMBS = {
    "laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "deep laughs": "".join(
        f"k{level}: &k{level} [{', '.join([f'*k{level - 1}'] * 9)}]\n" if level else "k0: &k0 [x]\n"
        for level in range(30)
    ),
    "a merge": "a: &a {x: 1}\nb: {<<: *a}\n",
    "a loop": "a: &a [*a]\n",
    "many nodes": "a: [" + "1, " * 10_001 + "1]\n",
    "deep": "a: " + "[" * 65 + "]" * 65 + "\n",
    "very deep": "a: " + "[" * 9_000 + "\n",
    "large": "a: " + "x" * 300_000 + "\n",
    "an object": "a: !!python/object/apply:os.system ['touch marker']\n",
    "a name": "a: !!python/name:os.system ''\n",
    "a module": "a: !!python/module:os ''\n",
    "a tag of its own": "a: !env HOME\n",
    "binary": "a: !!binary aGVsbG8=\n",
    "a set": "a: !!set {x, y}\n",
    "no yaml": "a: [1, 2\nb: {\n",
    "no text": "a: \xff\n",
    "control": "a: \x07\n",
    "two documents": "a: 1\n--- !!python/tuple\n- 1\n",
}
WRITE = "{_target_: pathlib.Path.write_text, _args_: [{_target_: pathlib.Path, _args_: [marker]}, x]}"
POWERS = {
    "callbacks": f"# @package _global_\nhydra: {{callbacks: {{evil: {WRITE}}}}}\n",
    "logging": "# @package _global_\nhydra: {job_logging: {handlers: {x: {(): os.mkdir}}}}\n",
    "a package": f"# @package hydra.callbacks.evil\n{WRITE}\n",
    "a package, spelt out": f"# @package _global_.hydra.callbacks\nevil: {WRITE}\n",
    "a placed default": "defaults:\n  - /task@hydra.callbacks: evil\n",
    "a placed default of all": "defaults:\n  - override /task@_global_.hydra.job_logging: evil\n",
    "a computed place": "defaults:\n  - /task@${x}: evil\n",
    "a search path": "hydra: {searchpath: ['file:///etc']}\n",
    "the environment of jobs": "# @package _global_\nhydra: {job: {env_set: {EVONAS_PACKAGES: os}}}\n",
    "quoted": '# @package _global_\n"hy\\x64ra": {verbose: true}\n',
}
READS = {
    "the environment": "a: ${oc.env:WANDB_API_KEY}\n",
    "the environment as paths": "# @package _global_\npaths: {data: '${oc.env:WANDB_API_KEY}'}\n",
    "nested": "a: ${oc.decode:${oc.env:WANDB_API_KEY}}\n",
    "a name from elsewhere": "r: oc.env\na: ${${r}:WANDB_API_KEY}\n",
    "in a key": "'${oc.env:WANDB_API_KEY}': 1\n",
    "in a list": "a: [x, {y: ['${oc.env:WANDB_API_KEY}']}]\n",
    "escaped for yaml": 'a: "\\x24{oc.env:WANDB_API_KEY}"\n',
    "in a default": "defaults:\n  - /task: ${oc.env:WANDB_API_KEY}\n",
    "hydra's": "a: ${hydra:runtime.cwd}\n",
}


def placed(folder: Path, text: str, name: str = "task/evil") -> Callable[[], object]:
    """Write an option, and read it as Hydra does."""
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1" if "\xff" in text else "utf-8"))
    source = config.FileConfigSource(provider="command-line", path=f"file://{folder}")
    return lambda: source.load_config(name)


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_before_anything_is_made(
    hostile: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(OmegaConf, "load", made.append)
    monkeypatch.setattr("yaml.safe_load", made.append)
    error = hostile.refused(placed(hostile.folder, text))
    assert "evil.yaml" in error.message and not made


@pytest.mark.parametrize("text", POWERS.values(), ids=POWERS.keys())
def test_hydras_own_settings_are_refused(hostile: Any, text: str) -> None:
    error = hostile.refused(placed(hostile.folder, text))
    assert "evil.yaml changes Hydra's own settings" in error.message


def test_options_of_hydras_groups_are_refused(hostile: Any) -> None:
    read = placed(hostile.folder, "formatters: {x: {(): os.mkdir}}\n", "hydra/job_logging/none")
    assert "Hydra's own settings" in hostile.refused(read).message


@pytest.mark.parametrize("text", READS.values(), ids=READS.keys())
def test_nothing_is_computed_or_read_from_outside(hostile: Any, text: str) -> None:
    hostile.refused(placed(hostile.folder, text))


@pytest.mark.parametrize("name", ["task/evil", "evil", "head/neck/evil", "hydra/launcher/evil"])
def test_a_sweep_looks_at_all_options_before_it_begins(hostile: Any, name: str) -> None:
    placed(hostile.folder / "conf", POWERS["callbacks"], name)
    hostile.refused(lambda: config.check_folder(hostile.folder / "conf"))


def test_a_file_that_links_elsewhere_is_looked_at(hostile: Any) -> None:
    (hostile.folder / "elsewhere").mkdir()
    (hostile.folder / "elsewhere/x.yaml").write_text(POWERS["callbacks"])
    (hostile.folder / "task").mkdir()
    (hostile.folder / "task/x.yaml").symlink_to("../elsewhere/x.yaml")
    source = config.FileConfigSource(provider="main", path=f"file://{hostile.folder}")
    hostile.refused(lambda: source.load_config("task/x"))


GOOD = """\
# @package _global_
# Mine.
defaults:
  - override /data: public_images
  - override /hydra/launcher: submitit_slurm
  - /head@head.more: light
task: {_target_: mine.Task, name: "a: b", width: "${data.width}"}
url: http://host/x
"""


def test_ordinary_config_is_read(tmp_path: Path) -> None:
    assert placed(tmp_path, GOOD)().config.url == "http://host/x"


@pytest.mark.parametrize("kind", ["overrides", "config"])
def test_what_a_run_recorded_is_counted_too(hostile: Any, kind: str) -> None:
    attempt = hostile.folder / "attempts" / "001"
    attempt.mkdir(parents=True)
    (attempt / f"{kind}.yaml").write_text(BOMBS["laughs"])
    read = (
        (lambda: run.typed(attempt)) if kind == "overrides" else lambda: run.recorded_config(hostile.folder)
    )
    hostile.refused(read)


@pytest.mark.parametrize(
    "word",
    [
        "hydra.callbacks.x._target_=os.mkdir",
        "+hydra.callbacks.x={_target_:os.mkdir}",
        "hydra/job_logging=evil",
        "+task@hydra.callbacks.x=evil",
        "~hydra.job_logging",
        "--config-path=/tmp/evil",
        "--experimental-rerun=x.pkl",
        "-m",
        "stage=doctor",
        "stage._target_=evil",
    ],
)
def test_a_run_from_elsewhere_brings_no_powers(hostile: Any, word: str) -> None:
    attempt = hostile.folder / "attempts" / "001"
    attempt.mkdir(parents=True)
    (attempt / "overrides.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(["seed=3", word])))
    assert hostile.harmless(lambda: run.recorded_overrides(hostile.folder)) == "['seed=3']"


@pytest.mark.parametrize(
    "words", [["+task=evil"], ["-m", "+task=evil", "seed=0,1"], ["--cfg", "job", "+task=evil"]]
)
def test_the_command_line_reads_through_this_door(
    evonas_command: Callable[..., Any], tmp_path: Path, words: list[str]
) -> None:
    placed(tmp_path / "conf", POWERS["callbacks"])
    ended = evonas_command("--config-dir=conf", *words)
    assert ended.code == 2 and "changes Hydra's own settings" in ended.err
    assert len(ended.err.splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
