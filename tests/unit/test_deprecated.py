"""Every name of the first release that has been renamed is still understood, and told once on stderr."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from evonas import config, deprecated, files, identifiers, schema
from evonas.cli_args import rewrite
from evonas.errors import UserError
from evonas.run import (
    ATTEMPTS,
    IDENTITY,
    _question,
    close_run,
    list_runs,
    open_run,
    recorded_config,
    recorded_overrides,
)
from evonas.stages.run import SETTINGS, settings
from evonas.stages.search import build_searcher, identity

CONF = config.conf_dir()
# what must be chosen so that a setting is there
NEEDS = {
    "data.validation": ["+task=synthetic"],
    "data.validation_images": ["+task=masks", "data.classes=[a,b]"],
    "data.validation_seed": ["+task=masks", "data.classes=[a,b]"],
    "data.validation_sequences": ["+task=realestate"],
    "sampler.inplace_distillation": ["sampler=sandwich"],
    "sampler.strategy": ["sampler=best_up"],
    "sampler.strategy.candidates": ["sampler=best_up"],
}
TYPED = {
    "objective.latency.runtime=torch": "runtime=torch",
    "++objective.latency.threads=2": "runtime.threads=2",
    **{f"{old}=1": f"{new}=1" for old, new in deprecated.KEYS.items() if old not in deprecated.GROUPS},
    **{
        f"{group}={old}": f"{group}={new}"
        for group, names in deprecated.OPTIONS.items()
        for old, new in names.items()
        if group not in deprecated.GROUPS.values()
    },
    **{
        f"{old}={option}": f"{new}={deprecated.option(new, option)}"
        for old, new in deprecated.GROUPS.items()
        for option in ("racing", "debug", "full", "alpha", "start", "macs")
        if (CONF / new / f"{deprecated.option(new, option)}.yaml").exists()
    },
    "trainer.max_epochs=1": "limits.max_epochs=1",
    # texts of networks are quoted for Hydra
    "genotype=1": "networks='1'",
    "evaluate.first=0.25": "fidelity.first=0.25",
    "sampler.lesson.ratio=0.5": "sampler.inplace_distillation.ratio=0.5",
    "sampler.draw.tries=2": "sampler.strategy.candidates=2",
    "search.choice.pool=50": "search.acquisition.pool=50",
    "genotype=run:a#knee": "networks='run:a#knee'",
    "joint=[a,b]": "multi_task_runs=[a,b]",
    "+search/cheap=macs": "+search/analytic_objectives=macs",
    "++data.holdout=0.1": "++data.validation=0.1",
    "~sampler.lesson": "~sampler.inplace_distillation",
    "+task=pictures": "+task=image_classification",
    "lookup": "stage=latency_table",
    "seed=${train.recalibrate}": "seed=${train.bn_calibration_images}",
    "seed=${data[holdout]}": "seed=${data[validation]}",
    "seed=${oc.select: train.recalibrate ,1}": "seed=${oc.select: train.bn_calibration_images ,1}",
    "search.exhaustive_up_to=${.memory}": "search.exhaustive_up_to=${.rank_correlation_window}",
    "+my-name=${train.recalibrate}": "+my-name=${train.bn_calibration_images}",
    "train={recalibrate: 4, rank: {epochs: 1}}": "train={bn_calibration_images: 4, rank: {epochs: 1}}",
    "search={pool: {alarm: 1}, alarm: 'alarm: 2'}": "search={pool: {alarm: 1}, min_rank_correlation: 'alarm: 2'}",
    "train=choice({panel_random: 1},{recalibrate: 2})": "train=choice({panel_random: 1},{bn_calibration_images: 2})",
    "search/cheap@search.cheap=macs": "search/analytic_objectives@search.analytic_objectives=macs",
    "+experiment@trainer=mine": "+experiment@limits=mine",
    "search=glob(*,exclude=near)": "search=glob(*,exclude=neighbourhood)",
    "search=choice('near',\"expected\")": "search=choice('neighbourhood',\"ehvi\")",
    "--package=evaluate": "--package=fidelity",
}

# a setting with a value, or the name of one in backticks
WRITTEN = re.compile(r"(?<![\w./-])(?:\+\+|\+|~)?[a-z][\w./]*=[^\s`'\"]*|`([a-z_]\w*(?:\.\w+)+)`")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecated, "_said", set())


def composed(*words: str, folder: Path = CONF) -> DictConfig:
    schema.register()
    config.guard_files()
    search = [] if folder == CONF else [f"hydra.searchpath=[file://{folder}]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*words, *search])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("old", "new"), TYPED.items(), ids=TYPED)
def test_an_old_name_is_understood_and_told_once(
    old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rewrite([old]) == [new]
    rewrite([old])
    [line] = lines(capsys)
    assert line.endswith(f"; the old name works until {deprecated.UNTIL}.") and " is now " in line
    assert rewrite([new]) == [new] and not lines(capsys)


def test_the_line_says_both_names(capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(["data.holdout=0.2", "-m", "search=near,nsga2,expected"])
    assert lines(capsys) == [
        "data.holdout is now data.validation; the old name works until 0.3.",
        "search=near,nsga2,expected is now search=neighbourhood,nsga2,ehvi; the old name works until 0.3.",
    ]


@pytest.mark.parametrize("place", ["README.md", "docs", "conf"])
def test_pages_and_comments_use_present_names(place: str) -> None:
    root = CONF.parent
    pages = [root / place, *(root / place).rglob("*.md"), *(root / place).rglob("*.yaml")]
    if not pages[0].exists():
        pytest.skip("not in an installed package")
    found: list[tuple[str, str]] = []
    for page in filter(Path.is_file, pages):
        # stage=cost has a setting of its own with an old name
        text = re.sub(r"(\bcost\b[^\n]*)genotype=", r"\1", page.read_text(encoding="utf-8"))
        for match in WRITTEN.finditer(text.replace("`genotype=`", "") if page.stem == "cost" else text):
            deprecated.override(match[1] or match[0].rstrip(".,;)"), lambda *names: found.append(names))
    assert not found


@pytest.mark.parametrize("new", [*deprecated.KEYS.values(), *deprecated.MOVED_KEYS.values()])
def test_every_present_setting_exists(new: str) -> None:
    cfg = composed(*NEEDS.get(new, ["search=ehvi"]))
    parent, _, last = new.rpartition(".")
    assert last in (OmegaConf.select(cfg, parent) if parent else cfg)


def test_every_present_group_and_option_exists_and_no_old_one() -> None:
    for old, new in deprecated.GROUPS.items():
        assert (CONF / new).is_dir() and not (CONF / old).exists()
    for group, names in deprecated.OPTIONS.items():
        for old, new in names.items():
            assert (CONF / group / f"{new}.yaml").is_file() and not (CONF / group / f"{old}.yaml").exists()


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Path]:
    """Writes config files of a user, and returns their folder."""

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / "conf" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "conf"

    return write


def test_yaml_of_a_user_is_understood(own: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = own(
        experiment__mine="# @package _global_\ndefaults:\n  - /task: synthetic\n  - override /search: expected\n"
        "  - override /trainer: debug\n  - override /sampler: sandwich\n  - override /sampler/lesson: start\n"
        "  - _self_\ndata:\n  holdout: 8\ntrain:\n  recalibrate: 4\nsearch:\n  alarm: 0.1\n"
        "hardware:\n  tries: ${train.recalibrate}\n"
    )
    cfg = composed("+experiment=mine", folder=folder)
    assert (cfg.data.validation, cfg.train.bn_calibration_images, cfg.limits.max_epochs) == (8, 4, 1)
    assert (cfg.search.min_rank_correlation, cfg.hardware.max_attempts) == (0.1, 4)
    assert cfg.sampler.inplace_distillation.ratio == 0.5 and "exhaustive_up_to" in cfg.search
    assert sorted(line.partition(" is now")[0] for line in lines(capsys)) == [
        "data.holdout", "hardware.tries", "sampler/lesson=start", "search.alarm", "search=expected",
        "train.recalibrate", "trainer=debug",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("defaults", "told"),
    {
        "/search/near": "search=near",
        "/search/near@search": "search@search=near",
        "/evaluate/racing": "evaluate=racing",
        "{override /evaluate: racing}": "evaluate=racing",
        "{/search/cheap@search.cheap: macs}": "search/cheap@search.cheap=macs",
    }.items(),
)
def test_every_form_of_a_defaults_list_is_understood(
    defaults: str, told: str, own: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own(experiment__mine=f"# @package _global_\ndefaults:\n  - {defaults}\n  - _self_\nseed: 3\n")
    cfg = composed("+experiment=mine", folder=folder)
    old, _, chosen = told.partition("=")
    target = {"near": "search.proposer", "racing": "fidelity", "macs": "search.analytic_objectives.macs"}[
        chosen
    ]
    assert cfg.seed == 3 and "_target_" in OmegaConf.select(cfg, target)
    [line] = lines(capsys)
    assert line.startswith(f"{old}={chosen} is now ")


@pytest.mark.parametrize("header", ["trainer", "_global_.trainer", "limits"])
def test_a_package_in_a_header_is_understood(
    header: str, own: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own(experiment__mine=f"# @package {header}\nmax_epochs: 9\n")
    assert composed("+experiment=mine", folder=folder).limits.max_epochs == 9
    assert len(lines(capsys)) == ("trainer" in header)


def test_relative_references_of_a_user_are_understood(own: Callable[..., Path]) -> None:
    folder = own(
        experiment__mine="# @package _global_\ndefaults:\n  - override /search: ehvi\n  - _self_\nsearch:\n"
        "  alarm: 0.3\n  memory: ${.alarm}\n  whole: ${..train.recalibrate}\n"
        "select:\n  rules: ['macs<=${..noise}', 'error<=${...search.alarm}']\n"
    )
    cfg = composed("+experiment=mine", folder=folder)
    assert (cfg.search.rank_correlation_window, cfg.search.exhaustive_up_to) == (0.3, 32)
    assert cfg.select.rules == ["macs<=False", "error<=0.3"]


def test_options_of_a_user_keep_their_names_and_places(
    own: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own(
        trainer__short="max_epochs: 2\n",
        search__pool="defaults:\n  - ranked_pool\n  - _self_\npool: 7\n",
        sampler__mine="defaults:\n  - banks\n  - _self_\nchain: last\ndraw: {tries: 3}\n",
    )
    words = rewrite([f"--config-dir={folder}", "trainer=short", "search=pool", "sampler=mine"])
    assert words == [f"--config-dir={folder}", "limits=short", "search=pool", "sampler=mine"]
    cfg = composed(*words[1:], folder=folder)
    assert (cfg.limits.max_epochs, cfg.search.pool) == (2, 7)
    assert (cfg.sampler.continue_from, cfg.sampler.strategy.candidates) == ("last", 3)
    assert "trainer=short is now limits=short; the old name works until 0.3." in lines(capsys)


def test_an_option_of_a_user_in_a_group_of_an_earlier_name_is_theirs(
    own: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own(trainer__full="max_epochs: 7\n", trainer__mine="defaults: [full, _self_]\nmax_batches: 3\n")
    for typed in ("trainer=full", "limits=full", "limits=mine"):
        [_, word] = rewrite([f"--config-dir={folder}", typed])
        assert word == typed.replace("trainer", "limits")
        assert composed(word, folder=folder).limits.max_epochs == 7
    assert rewrite(["limits=full", f"hydra.searchpath=[file://{folder}]"])[0] == "limits=full"
    assert [line.partition(";")[0] for line in lines(capsys)] == ["trainer=full is now limits=full"]


def test_a_class_of_a_user_takes_what_it_took(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(
        "class Leaves:\n    def __init__(self, holdout=0.1):\n        self.held = holdout\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with config.trusting(["leaves"]):
        assert config.build({"_target_": "leaves.Leaves", "validation": 0.3}).held == 0.3
    known = {"data": {"_target_": "leaves.Leaves", "validation": 0.3}}
    assert identifiers.identified(known) == {"data": {"_target_": "leaves.Leaves", "holdout": 0.3}}


def test_what_an_old_run_recorded_is_read_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt = tmp_path / "old" / ATTEMPTS / "001"
    attempt.mkdir(parents=True)
    said = ["+task=pictures", "data.holdout=0.2", "search=near", "trainer=debug", "search.choice.draws=8"]
    (attempt / "overrides.yaml").write_text(OmegaConf.to_yaml(said))
    before = {
        "task": {"name": "pictures"},
        "joint": None,
        "train": {"recalibrate": 8},
        "data": {"holdout": 0.2},
    }
    (attempt / "config.yaml").write_text(OmegaConf.to_yaml(before))
    assert recorded_overrides(tmp_path / "old") == [
        "+task=image_classification", "data.validation=0.2", "search=neighbourhood", "limits=debug",
        "search.acquisition.draws=8",
    ]  # fmt: skip
    cfg = recorded_config(tmp_path / "old")
    assert (cfg.train.bn_calibration_images, cfg.data.validation, cfg.multi_task_runs) == (8, 0.2, None)
    about = {"name": "pictures", "settings": None}
    created = "2026-01-01T00:00:00+00:00"
    known = {"created": created, "task": about, "seed": 0, "space": {}, "network": {}, "data": None}
    files.write_json(tmp_path / "old" / IDENTITY, known)
    assert [each["task"]["name"] for each in list_runs(tmp_path)] == ["image_classification"]
    assert not lines(capsys)


@pytest.mark.parametrize(
    ("version", "said", "kept"),
    [
        ("0.1.0.dev0", ["+task=synthetic", "seed=3"], {"network=nano", "train.retrain.lr=1.0e-3"}),
        ("0.1.0.dev0", ["+task=synthetic", "network=nano_cnn"], {"train.retrain.lr=1.0e-3"}),
        ("0.1.0.dev0", ["+task=synthetic", "train.retrain={lr: 0.5}"], {"network=nano"}),
        ("0.1.0.dev0", ["+task=camvid"], {"network=nano", "train.retrain.lr=1.0e-3"}),
        ("0.1.0.dev0", ["+task=normals"], set()),
        ("0.2.0", ["+task=synthetic"], set()),
    ],
)
def test_a_run_of_the_first_release_keeps_what_its_task_meant(
    tmp_path: Path, version: str, said: list[str], kept: set[str]
) -> None:
    attempt = tmp_path / "old" / ATTEMPTS / "001"
    attempt.mkdir(parents=True)
    (attempt / "overrides.yaml").write_text(OmegaConf.to_yaml(said))
    known = {"created": "", "task": {"name": "", "settings": None}, "seed": 0, "space": {}, "network": {}}
    files.write_json(tmp_path / "old" / IDENTITY, {**known, "data": None, "version": version})
    found = recorded_overrides(tmp_path / "old")
    assert found[: len(said)] == said
    expected = {"network=nano", "train.retrain.lr=1.0e-3"} & set(found[len(said) :])
    assert expected == kept and (bool(found[len(said) :]) == bool(kept))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (["+task=normals"], ["runtime=torch", "search.corners=true"]),
        (
            ["+task=normals", "objective=[error,latency]", "search=nsga2"],
            ["runtime=torch", "search.corners=true"],
        ),
        (["+task=normals", "runtime=onnxruntime"], ["search.corners=true"]),
        (["+task=normals", "objective.latency={threads: 2}"], ["runtime=torch", "search.corners=true"]),
        (["+task=normals", "search.corners=false"], ["runtime=torch"]),
    ],
)
def test_a_run_of_the_first_release_keeps_defaults_that_changed(
    tmp_path: Path, said: list[str], kept: list[str]
) -> None:
    attempt = tmp_path / "old" / ATTEMPTS / "001"
    attempt.mkdir(parents=True)
    (attempt / "overrides.yaml").write_text(OmegaConf.to_yaml(said))
    (attempt / "config.yaml").write_text(
        "task: {name: normals}\nobjective: {latency: {runtime: torch}}\nsearch: {corners: true}\n"
    )
    known = {"created": "", "task": {"name": "", "settings": None}, "seed": 0, "space": {}, "network": {}}
    files.write_json(tmp_path / "old" / IDENTITY, {**known, "data": None, "version": "0.1.0"})
    assert recorded_overrides(tmp_path / "old") == [*said, *kept]


class Silent:
    """An evaluator of no objective."""

    objectives = ()
    weights_digest = ""


# a search of the first release, in its words, and what its identities say
OLD = ["+task=pictures", "data=pictures", "data.holdout=0.2", "network.slice=per_head", "search=near"]
OLD += [
    "search.alarm=0.1",
    "sampler=level_walk",
    "sampler.chain=last",
    "train.recalibrate=8",
    "trainer=debug",
]
OLD += ["evaluate=racing", "select.noise=true"]
NEW = ["+task=image_classification", "data=public_images", "data.validation=0.2"]
NEW += ["network.width_slicing=per_head", "search=neighbourhood", "search.min_rank_correlation=0.1"]
NEW += [
    "sampler=complexity_aware",
    "sampler.continue_from=last",
    "train.bn_calibration_images=8",
    "limits=debug",
]
NEW += ["fidelity=racing", "select.noise_aware=true"]


def keys(value: Any) -> Iterator[str]:
    """Every key of plain data."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield name
            yield from keys(child)
    elif isinstance(value, list):
        for child in value:
            yield from keys(child)


@pytest.mark.parametrize("word", ["auto", "torch", "onnxruntime", "tensorrt"])
def test_a_search_by_latency_is_still_done_where_its_runtime_was_a_word(word: str) -> None:
    now = settings(composed("+task=synthetic", f"runtime={word}", "runtime.threads=2"), "search")
    recorded = now["objective"]["latency"]
    assert (recorded["runtime"], recorded["threads"]) == (word, 2)
    # a file of a user may still have it there
    kept = composed("+task=synthetic", f"objective.latency.runtime={word}", "objective.latency.threads=2")
    assert settings(kept, "search") == now
    other = settings(composed("+task=synthetic", f"runtime={word}", "runtime.batch=2"), "search")
    assert other["objective"]["latency"]["runtime"]["batch"] == 2


def test_a_search_is_the_same_in_old_and_new_words() -> None:
    from evonas.objectives.evaluator import Evaluator

    found = []
    for words in (rewrite(OLD), rewrite(NEW)):
        cfg = composed(*words)
        evaluator: Any = Silent()
        steps = {name: settings(cfg, name) for name in SETTINGS}
        known = identifiers.identified(
            {key: config.to_plain(cfg[key]) for key in ("network", "task", "space")}
        )
        parts = {**known, "objectives": {"macs": {"_target_": "objective/macs"}}, "weights": "w"}
        print_of = Evaluator(**parts).fingerprint("shared")
        made = identifiers.named(identity(cfg, evaluator), identifiers.identified)
        found.append([_question(cfg, words), made, steps, print_of])
    assert found[0] == found[1]
    question, made, steps, _ = found[0]
    assert question["task"]["name"] == question["task"]["settings"]["name"] == made["task"] == "pictures"
    assert question["data"]["holdout"] == 0.2 and question["network"]["slice"] == "per_head"
    assert (made["searcher"]["alarm"], made["searcher"]["choice"]["pool"]) == (0.1, 300)
    assert steps["supernet"]["train.recalibrate"] == 8 and steps["supernet"]["trainer"]["max_epochs"] == 1
    assert steps["search"]["evaluate"] and steps["select"]["select"]["noise"] is True
    curriculum = identifiers.identified(steps["supernet"]["sampler"])
    assert {"chain", "draw", "lesson"} <= curriculum.keys()
    new = {name.rpartition(".")[2] for name in deprecated.KEYS.values()} - {"networks"}
    assert not new & set(keys([question, made, identifiers.identified(steps)]))


def test_what_differs_from_a_recorded_identity_is_named_as_it_is_typed() -> None:
    found = [
        deprecated.first_difference(path, before, now)
        for path, before, now in (
            ("network", {"slice": "per_head"}, {"slice": "first"}),
            ("task", {"settings": {"data": {"holdout": 0.1}}}, {"settings": {"data": {"holdout": 0.2}}}),
            ("task", {"name": "masks", "settings": None}, {"name": "nb201", "settings": None}),
            ("task", {"settings": {"error": "loss"}}, {"settings": {}}),
            ("searcher", {"alarm": 0.1}, {"alarm": 0.2}),
            ("searcher", {"_target_": "search/nsga2"}, {"_target_": "search/random", "alarm": 0}),
            ("seed", 0, 0),
        )
    ]
    assert found == [
        ("network.width_slicing", "per_head", "first"),
        ("data.validation", 0.1, 0.2),
        ("task", "masks", "nb201"),
        ("task.error", "loss", None),
        ("search.min_rank_correlation", 0.1, 0.2),
        ("search", "search/nsga2", "search/random"),
        None,
    ]


def test_an_old_run_is_refused_in_present_words(tmp_path: Path) -> None:
    words = ["+task=image_classification", "run=old", f"outputs={tmp_path}", "data.validation=0.2"]
    close_run(open_run(composed(*words), words))
    for changed, told in {
        "data.validation=0.3": "has data.validation=0.2, and this command says 0.3",
        "network.width_slicing=per_head": "has network.width_slicing=",
        "+task=synthetic": "has task=image_classification, and this command says synthetic",
    }.items():
        again = [*(words if "task" not in changed else words[1:3]), changed]
        with pytest.raises(UserError, match=told):
            open_run(composed(*again), again)


def test_masks_have_one_argument_where_identities_have_two() -> None:
    masks = "data/mask_folders"
    for now, before in (
        ({"validation": 0.2}, {"holdout": 0.2, "validation": None}),
        ({"validation": "val"}, {"holdout": 0.1, "validation": "val"}),
    ):
        assert identifiers.identified({"_target_": masks, **now}) == {"_target_": masks, **before}
        assert identifiers.identified({"_target_": masks, **before}) == {"_target_": masks, **before}
        read = identifiers.resolved({"_target_": masks, **before})
        assert {key: child for key, child in read.items() if key != "_target_"} == now


def test_a_searcher_is_made_of_old_arguments() -> None:
    space = config.build(composed().space)
    node = config.to_plain(composed("search=neighbourhood").search)
    old = identifiers.as_first_release(node)
    assert {"choice", "cheap", "alarm", "memory"} <= old.keys()
    asked = [build_searcher(each, space, 0, ["error", "macs"]).ask() for each in (node, old)]
    assert asked[0] == asked[1]
