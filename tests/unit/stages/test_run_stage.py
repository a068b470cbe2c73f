"""The pipeline runs its steps in order, and after a stop only what is left."""

from dataclasses import asdict
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from evonas.errors import UserError
from evonas.files import write_text
from evonas.run import Run
from evonas.schema import Recipe
from evonas.stages.base import Context
from evonas.stages.run import PRODUCTS, SETTINGS, Pipeline, settings

NAMES = ("teacher", "search", "select")


class Noting:
    """A stage that notes that it ran, and may fail."""

    needs_task = True

    def __init__(self, name: str, ran: list[str], fails: bool = False) -> None:
        self.name, self.ran, self.fails = name, ran, fails

    def run(self, context: Context) -> str:
        if self.fails:
            raise RuntimeError(self.name)
        self.ran.append(self.name)
        return f"did {self.name} in {context.run.name}"


def config(**changed: object) -> DictConfig:
    steps = {name: {"option": 1} for name in NAMES}
    plain = {
        "teacher": {"name": "r"},
        "search": {"p": 1},
        "budget": {"n": 1},
        "objective": {},
        "distill": {"w": 1},
    }
    return OmegaConf.create(
        {**plain, "select": {"rules": ["knee"]}, "train": {}, "stage": {"steps": steps}, **changed}
    )


def ran(directory: Path, cfg: DictConfig, resume: bool = False, failing: str = "") -> list[str]:
    done: list[str] = []
    pipeline = Pipeline({name: Noting(name, done, name == failing) for name in NAMES})
    context = Context(cfg, Run(directory, "toy", resume))
    if failing:
        with pytest.raises(RuntimeError, match=failing):
            pipeline.run(context)
    else:
        assert pipeline.run(context) == str(directory)
    return done


def test_every_step_runs_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(tmp_path, config()) == list(NAMES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["[1/3] teacher", f"did teacher in {tmp_path.name}"]
    assert lines[-1].split()[0] == "all"


def test_resume_leaves_out_what_is_done(tmp_path: Path) -> None:
    assert ran(tmp_path, config(), failing="select") == ["teacher", "search"]
    assert ran(tmp_path, config(), resume=True) == ["select"]
    assert ran(tmp_path, config(), resume=True) == []


def test_a_run_that_was_finished_before_there_were_baselines_stays_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = config(baselines=["timm:resnet10t"])
    context = Context(cfg, Run(tmp_path, "toy", True))
    done: list[str] = []
    Pipeline({name: Noting(name, done, False) for name in ("evaluate", "report")}).run(context)
    Pipeline({name: Noting(name, done, False) for name in ("baselines", "evaluate", "report")}).run(context)
    assert done == ["evaluate", "report"]
    assert "baselines: this run was finished without it" in capsys.readouterr().out


def test_without_resume_nothing_that_is_done_is_lost(tmp_path: Path) -> None:
    assert ran(tmp_path, config(), failing="select") == ["teacher", "search"]
    with pytest.raises(UserError, match=r"has finished teacher, search\.") as refused:
        ran(tmp_path, config())
    assert "resume=true" in str(refused.value.hint)
    assert ran(tmp_path, config(), failing="select", resume=True) == []


def test_a_wrong_rule_is_found_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown rule 'kneee'"):
        ran(tmp_path, config(select={"rules": ["kneee"]}))
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("recipe", "changed", "said"),
    [
        ("teacher", {"optimizer": "adanw2"}, "optimizer=adanw2 is unknown"),
        ("teacher", {"optimizer_options": {"betas": [0.9]}}, "cannot be made with betas"),
        ("finetune", {"schedule": "steps"}, "schedule=steps is unknown"),
        ("teacher", {"schedule": "step", "gamma": 2.0}, "needs gamma in"),
        ("teacher", {"grad_clip_mode": "length"}, "grad_clip_mode=length is unknown"),
        ("finetune", {"ema_decay": 1.0}, "ema_decay must be in"),
        ("teacher", {"decay": "some"}, "decay=some is unknown"),
    ],
)
def test_a_wrong_recipe_is_found_before_anything_runs(
    tmp_path: Path, recipe: str, changed: dict[str, object], said: str
) -> None:
    recipes = {"teacher": asdict(Recipe()), "finetune": asdict(Recipe())}
    assert ran(tmp_path / "right", config(train=recipes)) == list(NAMES)
    recipes[recipe].update(changed)
    with pytest.raises(UserError, match=said):
        ran(tmp_path / "wrong", config(train=recipes))


def test_a_larger_budget_repeats_the_search_and_what_follows(tmp_path: Path) -> None:
    ran(tmp_path, config())
    assert ran(tmp_path, config(budget={"n": 2}), resume=True) == ["search", "select"]


def test_another_tracker_repeats_nothing(tmp_path: Path) -> None:
    ran(tmp_path, config())
    assert ran(tmp_path, config(tracker={"name": "other"}), resume=True) == []


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_teacher_without_distillation(nothing: object, tmp_path: Path) -> None:
    assert ran(tmp_path, config(distill=nothing)) == ["search", "select"]


def test_the_report_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").touch()
    pipeline = Pipeline({"select": Noting("select", [])})
    assert pipeline.run(Context(config(), Run(tmp_path, "toy"))) == str(tmp_path / "report" / "index.html")


def test_every_step_of_the_file_declares_its_settings(root: Path) -> None:
    listed = OmegaConf.load(root / "conf" / "stage" / "run.yaml").defaults
    names = [next(iter(each)) if isinstance(each, DictConfig) else each for each in listed]
    steps = [str(name).partition("@")[0] for name in names if name != "_self_"]
    assert len(steps) == 10
    assert set(steps) <= set(SETTINGS)


def test_what_inputs_have_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    for product in PRODUCTS.values():
        write_text(other / product, "made")
    done: list[str] = []
    names = ("pretrain", "teacher", "supernet", "select")
    pipeline = Pipeline({name: Noting(name, done) for name in names})
    cfg = config(inputs="other", stage={"steps": {name: {} for name in names}})
    pipeline.run(Context(cfg, Run(tmp_path / "mine", "toy", inputs=other)))
    assert done == ["select"]
    assert "[3/4] supernet: taken from other" in capsys.readouterr().out


def test_without_rules_nobody_searches(tmp_path: Path) -> None:
    assert ran(tmp_path, config(select={"rules": []})) == ["teacher", "select"]


def walked(directory: Path, train: object, sampler: str, resume: bool = True) -> list[str]:
    """A pipeline of starting weights and a choice, and the curriculum that the first may walk."""
    done: list[str] = []
    steps = {"pretrain": {} if train == "unsaid" else {"train": train}, "select": {}}
    cfg = config(sampler={"steps": [{"name": sampler}]}, stage={"steps": steps})
    Pipeline({name: Noting(name, done) for name in steps}).run(Context(cfg, Run(directory, "toy", resume)))
    return done


@pytest.mark.parametrize("train", [True, None])
def test_another_curriculum_repeats_starting_weights_that_walked_it(tmp_path: Path, train: object) -> None:
    assert walked(tmp_path, train, "first", resume=False) == ["pretrain", "select"]
    assert walked(tmp_path, train, "first") == []
    assert walked(tmp_path, train, "second") == ["pretrain", "select"]


@pytest.mark.parametrize("train", [False, "unsaid"])
def test_starting_weights_that_are_not_trained_have_no_curriculum(tmp_path: Path, train: object) -> None:
    walked(tmp_path, train, "first", resume=False)
    assert walked(tmp_path, train, "second") == []


def test_another_recipe_repeats_what_followed_it() -> None:
    both = [
        settings(
            config(train={"pretrain": {"lr": lr}}, stage={"steps": {"pretrain": {"train": True}}}), "pretrain"
        )
        for lr in (1, 2)
    ]
    assert both[0] != both[1]
