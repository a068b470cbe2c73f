"""stage=run: all stages in order."""

import time
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from evonas import config
from evonas.errors import UserError
from evonas.identifiers import identified_settings, identifier
from evonas.report.selection.rules import read_rule
from evonas.run import DONE, Run
from evonas.schema import LATER_RECIPE_SETTINGS, Recipe
from evonas.stages import NEEDS_NO_NETWORK
from evonas.stages.base import Context, Stage
from evonas.stages.build.setup import RunMode, mode_of
from evonas.stages.networks.references import referenced_networks, starting_points
from evonas.stages.stage_times import note_seconds
from evonas.stages.tracking import check_trackers
from evonas.track.console import heading
from evonas.track.progress import human_time

# settings of a curriculum besides its recipe
_CURRICULUM = (
    "sampler",
    "distill",
    "train.panel_random",
    "train.panel_every",
    "train.bn_calibration_images",
    "limits",
)
# the settings of each stage besides the run's identity; if they change, the stage and all after it run again
SETTINGS: Mapping[str, tuple[str, ...]] = {
    # only where it trains: see `settings`
    "pretrain": (*_CURRICULUM, "train.pretrain"),
    "teacher": ("teacher", "train.teacher", "limits"),
    "supernet": (*_CURRICULUM, "train.supernet"),
    "search": ("search", "objective", "fidelity", "evaluator", "budget", "multi_task_runs", "start"),
    "select": ("select", "networks", "transfer"),
    "retrain": ("distill", "train.retrain", "train.scratch", "limits"),
    "baselines": (
        "baselines",
        *_CURRICULUM,
        "train.supernet",
        "train.retrain",
        "train.baseline_budgets",
        "objective",
    ),
    "rank": ("distill", "train.rank", "rank", "limits"),
    "evaluate": (),
    "export": (),
    "report": (),
}
# settings of later releases; runs of earlier ones are still done where these are unset
_LATER = ("networks", "transfer", "multi_task_runs", "start")
_LATER_OF_STAGES = ("precisions", "runtimes")
# runtimes of the first releases, which were a word beside the number of threads
_EARLIER_RUNTIMES = {
    "evonas.runtimes.choice.Auto": "auto",
    "evonas.runtimes.torch_eager.TorchEager": "torch",
    "evonas.runtimes.onnxruntime.OnnxRuntime": "onnxruntime",
    "evonas.runtimes.tensorrt.TensorRT": "tensorrt",
}
# a run that was finished before these stages existed is still finished
_LATER_STAGES = ("baselines",)
# a stage is skipped if the run named by `inputs=` has its product; initial weights are adopted by the stage
# itself, because they may have another task's head
PRODUCTS: Mapping[str, str] = {
    "pretrain": "supernet/supernet.safetensors",
    "teacher": "teacher/result.json",
    "supernet": "supernet/supernet.safetensors",
}


class Pipeline:
    """All stages of a run; with resume=true finished ones are skipped.

    A stage is built when it runs, so that a run imports only what it needs: build the pipeline itself with
    `_recursive_: false`.

    Args:
        steps: stages, or their configs, by name, in the order in which they run.
        needs_trained_head: whether a search is refused where the supernet has starting weights without a trained head.
    """

    needs_task = True

    def __init__(
        self, steps: Mapping[str, Stage | Mapping[str, Any]], needs_trained_head: bool = False
    ) -> None:
        self.steps, self.needs_trained_head = steps, needs_trained_head
        self._seconds: dict[str, float] = {}

    def run(self, context: Context) -> str:
        """Run every stage and print their times; returns the path of the report."""
        may_skip = context.run.resume
        if not may_skip:
            self._refuse_again(context.run)
        self._check_ahead(context)
        for number, (name, stage) in enumerate(self.steps.items(), start=1):
            wanted = settings(context.cfg, name)
            title = f"[{number}/{len(self.steps)}] {name}"
            if not is_wanted(context.cfg, name):
                heading(f"{title}: not needed")
            elif _is_inherited(context.run, name):
                heading(f"{title}: taken from {context.cfg.inputs}")
            elif may_skip and context.run.done(name, wanted):
                heading(f"{title}: done before")
            elif may_skip and self._came_later(context, name):
                heading(f"{title}: this run was finished without it; {context.run.command(name)}")
            else:
                may_skip = False
                heading(title)
                self._timed(name, stage, context)
                context.run.mark_done(name, wanted)
        self._print_times()
        report = context.run.directory / "report" / "index.html"
        return str(report if report.exists() else context.run.directory)

    def _check_ahead(self, context: Context) -> None:
        """Raise the errors of later stages before hours of training."""
        cfg = context.cfg
        check_trackers(cfg)
        if context.setup.mode is RunMode.NAMED:
            referenced_networks(context)
        if "search" in self.steps and is_wanted(cfg, "search"):
            starting_points(context)
        for rule in cfg.select.rules if "select" in self.steps else ():
            read_rule(rule)
        if (
            context.setup.mode is RunMode.TABLE
            and "search" in self.steps
            and not self._is_behind(context, "search")
        ):
            # reads the table, which a search then finds in the setup
            _ = context.setup.table_evaluator.objectives
        is_made = "supernet" in self.steps and is_wanted(cfg, "supernet")
        if is_made and not _is_inherited(context.run, "supernet") and "_target_" in (cfg.sampler or {}):
            # searches of tables must not wait for torch
            from evonas.stages.build import factory

            curriculum = factory.curriculum(cfg, context.setup.space)
            curriculum.check_draws(lambda: factory.costs(context.setup))
            factory.check_head(context.setup)
            if "search" in self.steps and is_wanted(cfg, "search") and cfg.get("objective"):
                from evonas.objectives.evaluator import made
                from evonas.stages.build.evaluator import check_runtimes
                from evonas.stages.search import built_searcher

                objectives = list(made(context.setup.objectives(context.run)).values())
                check_runtimes(cfg, objectives)
                built_searcher(context, objectives)
        if (
            "baselines" in self.steps
            and is_wanted(cfg, "baselines")
            and not self._is_behind(context, "baselines")
        ):
            # searches of tables must not wait for timm
            from evonas.stages.networks.baselines import check

            check(context.setup)
        self._check_recipes(cfg)
        self._check_data(context)

    def _check_recipes(self, cfg: DictConfig) -> None:
        wanted = [name for name in self.steps if is_wanted(cfg, name)]
        names = [name for name in wanted if name in cfg.train]
        if "search" in wanted and names:
            # of every point with fidelity=finetune; other searches leave it as it is
            names.append("finetune")
        if not names:
            return
        # searches of tables must not wait for torch
        from evonas.train.recipe import check_recipe

        for name in cfg.train.keys() & set(names):
            plain: Any = OmegaConf.to_container(cfg.train[name], resolve=True)
            check_recipe(Recipe(**plain))

    def _check_data(self, context: Context) -> None:
        """Check the data of a pipeline that has stages left to run, last because it reads ground truth."""
        if not context.setup.mode.has_network or context.cfg.get("task") is None:
            return
        left = [
            name for name in self.steps if is_wanted(context.cfg, name) and not self._is_behind(context, name)
        ]
        if set(left) - {"export", "report"}:
            context.setup.check_data(needs_test="evaluate" in left)

    def _is_behind(self, context: Context, name: str) -> bool:
        """Whether a stage was finished before, or need not be done any more."""
        done = context.run.done(name, settings(context.cfg, name))
        return context.run.resume and (done or self._came_later(context, name))

    def _refuse_again(self, run: Run) -> None:
        """Refuse to overwrite finished stages because `resume=true` was forgotten."""
        done = [name for name in self.steps if (run.directory / DONE / f"{name}.json").exists()]
        if done:
            raise UserError(
                f"Run '{run.name}' has finished {', '.join(done)}.",
                f"Add resume=true to go on, or start another run by leaving out run={run.name}.",
            )

    def _came_later(self, context: Context, name: str) -> bool:
        """Whether the run did the next stage when pipelines did not have this one yet."""
        if name not in _LATER_STAGES:
            return False
        following = list(self.steps)[list(self.steps).index(name) + 1 :]
        return bool(following) and context.run.done(following[0], settings(context.cfg, following[0]))

    def _timed(self, name: str, step: Stage | Mapping[str, Any], context: Context) -> None:
        if name == "search" and self.needs_trained_head:
            # searches of tables must not wait for torch
            from evonas.stages.networks.initial_weights import refuse_untrained_head

            refuse_untrained_head(context.run)
        started = time.monotonic()
        stage: Stage = config.build(step) if isinstance(step, Mapping) else step
        print(stage.run(context), flush=True)
        self._seconds[name] = time.monotonic() - started
        note_seconds(context.run, name, self._seconds[name])

    def _print_times(self) -> None:
        rows = {**self._seconds, "all": sum(self._seconds.values())}
        width = max(map(len, rows))
        heading("Times")
        for name, seconds in rows.items():
            print(f"  {name:<{width}}  {human_time(seconds):>12}", flush=True)


def settings(cfg: DictConfig, name: str) -> dict[str, Any]:
    """The part of the config that decides what a stage makes, as plain data under the names of identities."""
    step = f"stage.steps.{name}"
    read = [key for key in SETTINGS.get(name, ()) if key not in _LATER or cfg.get(key) is not None]
    # untrained initial weights depend on no settings
    is_trained = name != "pretrain" or OmegaConf.select(cfg, f"{step}.train", default=False) is not False
    keys = (*(read if is_trained else ()), step)
    found = {key: config.redact(config.to_plain(OmegaConf.select(cfg, key))) for key in keys}
    for key, recipe in found.items():
        if key.startswith("train.") and isinstance(recipe, dict):
            usual = LATER_RECIPE_SETTINGS.items()
            found[key] = {name: value for name, value in recipe.items() if (name, value) not in usual}
    teacher = found.get("teacher")
    if isinstance(teacher, dict) and identifier(teacher.get("_target_")) == "teacher/timm":
        # a setting that came later; without it, runs from before are still done
        found["teacher"] = {
            key: value for key, value in teacher.items() if key != "weights" or value is not None
        }
    if isinstance(stage := found[step], dict):
        found[step] = {key: value for key, value in stage.items() if key not in _LATER_OF_STAGES or value}
    if found.get("objective"):
        found["objective"] = {key: _as_recorded(each) for key, each in found["objective"].items()}
    return identified_settings(found)


def _as_recorded(objective: Any) -> Any:
    """An objective with its runtime as earlier releases recorded it, where they had such a one."""
    runtime = objective.get("runtime") if isinstance(objective, Mapping) else None
    if isinstance(runtime, str):
        return {**objective, "threads": objective.get("threads") or 1}
    if not isinstance(runtime, Mapping):
        return objective
    if runtime.get("precision") != "int8":
        # nothing is quantised
        runtime = {key: value for key, value in runtime.items() if key != "int8"}
    kept = {key: value for key, value in runtime.items() if key not in ("_target_", "threads")}
    word = _EARLIER_RUNTIMES.get(str(runtime.get("_target_")))
    if word is None or kept != {"precision": "auto", "batch": 1}:
        return {**objective, "runtime": runtime}
    return {**objective, "runtime": word, "threads": objective.get("threads") or runtime["threads"]}


def is_wanted(cfg: DictConfig, name: str) -> bool:
    """Whether a later stage reads the results of this stage.

    Without distillation none reads the teacher, without selection rules none reads the search, and named networks
    need neither supernet nor search.
    """
    mode = mode_of(cfg)
    if not mode.has_network:
        return name in NEEDS_NO_NETWORK
    if mode is RunMode.NAMED and name in ("supernet", "search"):
        return False
    if name == "search" and not cfg.select.rules:
        return False
    if name == "baselines":
        return bool(cfg.baselines)
    return name != "teacher" or bool(cfg.distill)


def _is_inherited(run: Run, name: str) -> bool:
    """Whether the run named by `inputs=` has the product of the stage, and this run has not."""
    product = PRODUCTS.get(name)
    found = run.find(product) if product else None
    return found is not None and not found.is_relative_to(run.directory)
