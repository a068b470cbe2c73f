"""Every YAML file composes, and what it names exists and takes its keys."""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from evonas import config, schema
from evonas.cli import conf_dir
from evonas.errors import UserError
from evonas.stages import NEEDS_NO_TASK, TARGETS
from evonas.stages.build.combinations import refuse_settings_of_none
from evonas.stages.build.setup import complete
from evonas.supernets.evonet.published import PUBLISHED

# given by the code that builds the object, not by the file
GIVEN = {"tracker": {"folder", "run", "stage"}}


def options() -> list[str]:
    """Every `group/option` below conf/."""
    found = sorted(conf_dir().glob("*/*.yaml"))
    return [f"{path.parent.name}/{path.stem}" for path in found]


def composed(*overrides: str) -> Any:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def choice(option: str) -> list[str]:
    group, _, name = option.partition("/")
    if group in ("task", "experiment"):
        return [f"+{group}={name}"]
    if group == "debug":
        return ["+task=synthetic", f"+debug={name}"]
    added = "+" if group == "data" else ""
    task = [] if group == "data" else ["+task=synthetic"]
    return [*task, f"{added}{group}={name}" if group != "objective" else f"objective=[{name}]"]


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, child in node.items():
            yield from targets(child, f"{path}.{key}" if path else str(key))
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from targets(child, f"{path}[{index}]")


@pytest.mark.parametrize("option", options())
def test_every_file_composes_and_its_targets_take_its_keys(option: str) -> None:
    cfg = OmegaConf.to_container(composed(*choice(option)), resolve=False)
    found = dict(targets(cfg))
    assert found
    for path, node in found.items():
        made = config.allowed(node["_target_"])
        parameters = inspect.signature(made).parameters
        # weights are loaded by stage=pretrain, and no argument of a family
        loaded = {"weights"} if path == "network" else set()
        keys = {key for key in node if not key.startswith("_")} - loaded
        is_open = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        assert is_open or keys <= parameters.keys(), f"{path}: {sorted(keys - parameters.keys())}"


@pytest.mark.parametrize("path", sorted(conf_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if not line.startswith("# @package"))
    assert first.startswith("# ")


@pytest.mark.parametrize("stage", TARGETS)
def test_every_stage_has_a_file_and_a_verdict_on_tasks(stage: str) -> None:
    cfg = composed("+task=synthetic", f"stage={stage}")
    assert cfg.stage._target_ == TARGETS[stage]
    made: Any = config.allowed(cfg.stage._target_)
    assert made.needs_task == (stage not in NEEDS_NO_TASK)


def test_there_is_no_stage_without_a_name() -> None:
    assert {path.stem for path in (conf_dir() / "stage").glob("*.yaml")} == set(TARGETS)


@pytest.mark.parametrize("task", [path.stem for path in sorted((conf_dir() / "task").glob("*.yaml"))])
def test_no_task_forces_a_hardware(task: str) -> None:
    cfg = composed(f"+task={task}", "hardware=gpu")
    assert cfg.hardware.accelerator == "gpu"
    assert cfg.task is not None


SETTING = ["task", "experiment", "debug", "network", "search", "hardware", "limits"]


@pytest.mark.parametrize("group", ["distill", "sampler"])
@pytest.mark.parametrize("option", [each for each in options() if each.partition("/")[0] in SETTING])
def test_none_is_none_whatever_a_file_sets_below_the_group(group: str, option: str) -> None:
    """A teacher that a task mentions, or a curriculum that it shortens, does not come back."""
    cfg = composed(*choice(option), f"{group}=none")
    if group == "distill":
        # no file of evonas itself sets a part of a teacher
        assert cfg.distill == {}
    cfg.network = None
    complete(cfg)
    assert cfg[group] == {}


@pytest.mark.parametrize(
    "typed",
    [
        "data.scale=1e999",
        "data.max_depth=-inf",
        "data.min_depth=nan",
        "data.invalid=nan",
        f"data.scale=1{'0' * 400}",
    ],
)
def test_numbers_that_are_not_finite_are_refused(typed: str, evonas_command: Callable[..., Any]) -> None:
    ended = evonas_command("+task=depth_folders", "data.root=.", "stage=pretrain", "run=a", typed)
    assert ended.code == 2 and f"{typed} is not a finite number" in ended.err
    assert not Path("outputs/a").exists()


def test_a_value_that_is_missing_is_named(evonas_command: Callable[..., Any]) -> None:
    ended = evonas_command("check", "+task=masks", "data.root=.")
    assert (
        ended.code == 2
        and "data.classes has no value, and must have one.\nType it: data.classes=" in ended.err
    )


def test_networks_that_nothing_reads_are_refused(evonas_command: Callable[..., Any]) -> None:
    ended = evonas_command("cost", "network=ofa_nano", "networks=smallest")
    assert ended.code == 2 and "stage=cost does not read networks=" in ended.err
    assert "stage.genotype=" in ended.err


def test_a_typed_setting_of_none_is_refused() -> None:
    typed = ["+task=cells", "distill=none", "distill.ratio=0.2"]
    with pytest.raises(UserError, match=r"distill.ratio=0.2 has no effect with distill=none"):
        refuse_settings_of_none(composed("+task=cells", "distill=none", "+distill.ratio=0.2"), typed)
    refuse_settings_of_none(
        composed("+task=cells", "distill.ratio=0.2"), ["+task=cells", "distill.ratio=0.2"]
    )


def test_the_lessons_of_small_sets_and_of_retraining_are_choices() -> None:
    assert composed("+task=cells").distill.ratio == 0.3
    found = composed("+experiment=evonet_coco_base").distill
    assert found == {**composed("+task=coco").distill, "ratio": 0.3}


def test_debug_wins_over_the_task() -> None:
    assert composed("+task=synthetic", "+debug=fast").budget.evaluations == 8


@cache
def experimental(name: str) -> Any:
    return composed(f"+experiment={name}")


# population and evaluations of the searches of the papers
BUDGETS = {
    "evonas": (96, 19200),
    "evonet": (96, 19200),
    "nsganetv2": (8, 340),
    "elasticvit": (256, 10752),
    "fasterseg": (96, 19200),
    "ednag": (30, 130),
    "saswot": (50, 1000),
    "ofa": (8, 340),
}
EXPERIMENTS = [path.stem for path in sorted((conf_dir() / "experiment").glob("*.yaml"))]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_whole_unless_it_is_debugged(experiment: str) -> None:
    whole = experimental(experiment)
    assert (whole.budget.population, whole.budget.evaluations) == BUDGETS[experiment.partition("_")[0]]
    assert whole.limits.max_epochs is None
    tried = composed(f"+experiment={experiment}", "limits=debug")
    assert (tried.limits.max_epochs, tried.budget.evaluations, tried.limits.teacher_size) == (1, 8, "tiny")


@pytest.mark.parametrize("experiment", [each for each in EXPERIMENTS if each.startswith("evonet_")])
def test_a_published_network_is_the_one_of_the_table(experiment: str) -> None:
    _, data, size = experiment.split("_")
    cfg = experimental(experiment)
    assert dict(cfg.select.genotypes) == {size: PUBLISHED[f"{data}-{size}"].genotype}
    assert list(cfg.select.rules) == [] and not cfg.select.include_max
