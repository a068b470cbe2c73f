"""What the pages say is so: commands compose, code runs, links lead somewhere."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Sweep

from evonas import cli_args, cli_errors, files, schema
from evonas.cli import conf_dir
from evonas.data.nas_bench import base
from evonas.run import IDENTITY

# what these pages run needs an export, and is run with it by test_pages_followed.py
AFTER_A_RUN = {"docs/five_minutes.md", "docs/deploy.md"}
LAUNCHING = ("hydra/", "hydra.")
# settings of every command, whose values no other setting depends on
FREE = ("run=", "inputs=", "resume=", "outputs=", "seed=", "networks=", "dry_run=", "fail_fast=")


def composed(words: list[str]) -> None:
    """Compose a command as the command line does; a sweep with every choice that it tries."""
    rewritten = cli_args.rewrite(words)
    folders = [f"file://{Path(folder).absolute()}" for folder in cli_args.config_dirs(rewritten)]
    parsed = OverridesParser.create().parse_overrides(
        [each for each in cli_args.overrides(rewritten) if not each.startswith((*LAUNCHING, *FREE))]
    )
    for variant in variants(parsed):
        if is_plain(variant):
            continue
        # anew for each, because Hydra looks at a search path once; an unknown key or choice raises
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("config", overrides=[*variant, f"hydra.searchpath=[{','.join(folders)}]"])
            if not folders:
                cli_errors.check_types(cfg, variant)
        cli_errors.refuse_too_small(cfg)
        assert cfg.stage._target_


def is_plain(variant: list[str]) -> bool:
    """Whether it only makes choices that are there: test_conf.py composes each."""
    chosen = [word.lstrip("+").partition("=")[::2] for word in variant]
    return all(
        (conf_dir() / group / f"{name}.yaml").exists() or group == "data.root" for group, name in chosen
    )


def variants(parsed: list[Override]) -> Iterator[list[str]]:
    """The first job of a sweep, and one for each further choice of a group."""
    each = [tried(override) for override in parsed]
    first = [options[0] for options in each]
    yield first
    for at, override in enumerate(parsed):
        if (conf_dir() / override.key_or_group).is_dir():
            yield from ([*first[:at], other, *first[at + 1 :]] for other in each[at][1:])


def tried(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    value, key = override.value(), override.get_key_element()
    assert isinstance(value, Sweep)
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}"]
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def remember(name: str, overrides: list[str]) -> None:
    """A run as a command of before would have left it."""
    folder = Path("outputs") / name
    question = {
        "created": "2026-01-01T00:00:00+00:00",
        "task": {"name": "synthetic"},
        "seed": 0,
        "space": {},
        "network": {},
        "data": {},
    }
    files.write_json(folder / IDENTITY, question)
    files.write_text(folder / "attempts/001/overrides.yaml", yaml.safe_dump(overrides))


def setting(words: list[str], key: str) -> str:
    return next((word.partition("=")[2] for word in words if word.lstrip("+").startswith(f"{key}=")), "")


# pages of many commands; each takes half a second to compose
LONG = {"docs/data.md", "docs/tables.md", "docs/reproduce.md", "docs/sweeps.md"}


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in pages.pages()]
)
def test_every_command_composes(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in pages.blocks(page):
        if block.path:
            files.write_text(tmp_path / block.path, block.content)
    schema.register()
    known: set[tuple[str, ...]] = set()
    for words in pages.commands(page):
        run, is_first = setting(words, "run"), bool(setting(words, "task") + setting(words, "experiment"))
        if {"--help", "--version"} & set(words) or tuple(words) in known:
            continue
        known.add(tuple(words))
        if run and not is_first and not (tmp_path / "outputs" / run).exists():
            remember(run, ["+task=synthetic"])
        composed(words)
        if run and is_first:
            folders = [f"--config-dir={each}" for each in cli_args.config_dirs(words)]
            remember(run, [*folders, *cli_args.overrides(cli_args.rewrite(words))])


@pytest.mark.parametrize("page", pages.pages())
def test_every_link_leads_somewhere(page: str) -> None:
    for link in pages.links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (pages.ROOT / page).parent / path if path else pages.ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in pages.anchors(target.resolve().relative_to(pages.ROOT).as_posix()), link


@pytest.mark.parametrize("page", pages.pages())
def test_scripts_and_targets_that_are_named_exist(page: str) -> None:
    makefile = (pages.ROOT / "Makefile").read_text()
    for line in pages.lines(page):
        script = re.match(r"python ((?:benchmarks|tests)/\S+\.py)", line)
        assert script is None or (pages.ROOT / script[1]).exists(), line
        target = re.match(r"make (\S+)", line)
        assert target is None or re.search(rf"^{target[1]}:", makefile, re.MULTILINE), line


def nav() -> set[str]:
    def paths(node: Any) -> Iterator[str]:
        for value in node.values() if isinstance(node, dict) else node:
            yield from [value] if isinstance(value, str) else paths(value)

    return set(paths(yaml.safe_load((pages.ROOT / "mkdocs.yml").read_text())["nav"]))


def test_the_site_has_every_page() -> None:
    assert nav() == {path.relative_to(pages.DOCS).as_posix() for path in pages.DOCS.rglob("*.md")}


def test_every_stage_has_a_page() -> None:
    named = {re.split(r"[:,]| and ", pages.read(page)[2:], maxsplit=1)[0] for page in pages.pages()}
    wanted = {path.stem for path in (conf_dir() / "stage").glob("*.yaml")} - {"show"}
    assert wanted <= named, f"without a page: {sorted(wanted - named)}"


@pytest.mark.parametrize("page", [each for each in pages.pages() if each.startswith("docs/api/")])
def test_the_reference_names_modules_that_exist(page: str) -> None:
    named = re.findall(r"^::: (\S+)$", pages.read(page), re.MULTILINE)
    assert named
    for module in named:
        assert (pages.ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


RUN = sorted({page for page in pages.pages() for block in pages.blocks(page) if block.language == "python"})
# what the reader of docs/tables.md has: the numbers of a benchmark
GIVEN = {
    "np": np,
    "enc": np.zeros((15625, 6), int),
    "validation_accuracy": np.full(15625, 90.0),
    "flops": np.ones(15625),
    "params": np.ones(15625),
    "latencies": np.ones((15625, 1)),
}


@pytest.mark.parametrize(
    "page", [page for page in RUN if page not in AFTER_A_RUN and "tutorials" not in page]
)
def test_python_on_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = dict(GIVEN) if page.endswith("tables.md") else {}
    for block in pages.blocks(page):
        if block.language == "python":
            exec(compile(block.content, page, "exec"), names)
    promised = re.findall(
        r"^print\(.*\)  # (.+)$", "".join(b.content for b in pages.blocks(page)), re.MULTILINE
    )
    assert set(promised) <= set(capsys.readouterr().out.splitlines())
    if page.endswith("tables.md"):
        table = base.own("mine.npz")
        assert table.values(("5", "relu"), ("error", "latency")) == {"error": 6.4, "latency": 2.5}


def test_what_the_picture_of_slicing_says() -> None:
    """The page prints the same sizes for the smallest and the largest network."""
    names: dict[str, Any] = {}
    printed: list[Any] = []
    for block in pages.blocks("docs/concepts/slicing.md"):
        exec(block.content, {"print": printed.append, **names})
    assert len(printed) == 2 and printed[0] == printed[1]


@pytest.mark.parametrize("page", [page for page in pages.pages() if "```yaml" in pages.read(page)])
def test_yaml_on_a_page_is_yaml(page: str) -> None:
    for block in pages.blocks(page):
        if block.language == "yaml":
            assert yaml.safe_load(block.content)


def test_the_step_of_the_curriculum_page_is_one() -> None:
    from evonas.train.sampling.step import CurriculumStep

    [block] = pages.blocks("docs/concepts/curriculum.md")
    [step] = yaml.safe_load(block.content)
    published = yaml.safe_load((conf_dir() / "sampler/pst_nano.yaml").read_text())["steps"]
    assert step in published and CurriculumStep(**step).num_subnets == 1


def test_the_sweep_of_weights_and_biases_starts_commands_of_ours() -> None:
    [block] = [each for each in pages.blocks("docs/sweeps.md") if each.language == "yaml"]
    sweep = yaml.safe_load(block.content)
    assert len(block.content.splitlines()) <= 10
    interpreter, python, flag, module, *words, last = sweep["command"]
    assert [interpreter, python, flag, module, last] == [
        "${env}",
        "python",
        "-m",
        "evonas",
        "${args_no_hyphens}",
    ]
    values = [(key, value.get("values", [value.get("min")])[0]) for key, value in sweep["parameters"].items()]
    schema.register()
    composed([*words, *(f"{key}={value}" for key, value in values)])


TUTORIALS = [page for page in pages.pages() if "bring_your_own_" in page]


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_is_short(page: str) -> None:
    code = [block.content.splitlines() for block in pages.blocks(page) if block.path.endswith(".py")]
    assert len([line for line in chain(*code) if line.strip()]) <= (95 if page.endswith("data.md") else 60)
