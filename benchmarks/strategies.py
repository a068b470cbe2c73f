"""Does a supernet rank networks as their own training would? Every training strategy asked the same question.

The same networks are trained alone, from random weights, once for each of --alone-seeds; then every strategy
trains a supernet for each of --seeds with as many forward-backward passes, and its inherited errors are
compared with those of the networks alone. The same search runs on each supernet.

    python benchmarks/strategies.py --task synthetic
    python benchmarks/strategies.py --task camvid --set data.root=datasets/camvid

Everything that is finished is kept and never done twice, also after a kill: repeat the command. Runs are
under --out, and the answers, small and worth hours, under --answers, by default beside this file, where they
are part of the repository. Work can be shared: `--share 0 2` and `--share 1 2` train half of the networks
alone each, and later commands name their own --strategies.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from strategy_table import table
from trials import composed, kept, run

from evonas import files
from evonas.config import to_plain
from evonas.evaluate.engine import EvaluatorLike
from evonas.evaluate.measure import ready_evaluator
from evonas.randomness import derive
from evonas.report.metrics.pareto import front
from evonas.run import Run
from evonas.space.genotype import Genotype
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.pretrain import Pretrain
from evonas.stages.rank import spread
from evonas.stages.supernet import Supernet
from evonas.stages.teacher import Teacher
from evonas.stages.training.recipe import read_recipe
from evonas.supernets.static_net import static_net
from evonas.tasks.base import best_of
from evonas.train import validation_panel
from evonas.train.fit import Resumable, fit
from evonas.train.loop.data import TrainingData, batches_per_epoch
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Duration
from evonas.train.recipe import optimizer_options, schedule
from evonas.train.sampling.replay_pool import ReplayPoolSampling

STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "uniform": (
        "sampler=uniform",
        "sampler.steps=[{name: uniform, num_subnets: 4, epochs: 10, warmup_epochs: 1}]",
    ),
    "uniform with ends": ("sampler=uniform",),
    "pst": ("sampler=pst_nano",),
    "pst + ca-ddkd": ("sampler=pst_nano", "distill=caddkd"),
    "progressive shrinking": ("sampler=ofa_nano",),
    "small to large": ("sampler=small_to_large",),
    "sandwich": ("sampler=sandwich",),
    "alphanet": ("sampler=alphanet",),
    "nasvit": ("sampler=nasvit",),
    "pcgrad": ("sampler=sandwich", "+sampler/merge=pcgrad"),
    "best-up": ("sampler=best_up",),
    "worst-up": ("sampler=worst_up",),
    "complexity-aware": ("sampler=complexity_aware",),
    "performance-aware": ("sampler=performance_aware",),
    "nsas": ("sampler=nsas",),
}
# what the first release's tasks had, so that answers stay comparable
FIXED = ("network=nano", "train.supernet.lr=2.0e-3", "tracker=none", "distill=none", "train.panel_random=0")
CALIBRATED = 64
ANSWERS = Path(__file__).with_name("answers") / "strategies"
SEARCH = ("search=nsga2", "budget.population=12", "budget.evaluations=48")


@dataclass(frozen=True)
class Question:
    """What is asked of every strategy, and where answers are kept."""

    task: str
    passes: int
    alone_steps: int
    subnets: int
    overrides: tuple[str, ...]
    out: Path
    answers: Path

    def cfg(self, seed: int, *more: str) -> DictConfig:
        """The config of one seed; the caller's own."""
        words = (f"+task={self.task}", *FIXED, *SEARCH, f"seed={seed}", *self.overrides, *more)
        return composed(*words).copy()

    def about(self) -> dict[str, Any]:
        """Everything but the length of the supernets' training that an answer depends on."""
        return {
            "task": self.task,
            "alone_steps": self.alone_steps,
            "subnets": self.subnets,
            "overrides": [each for each in self.overrides if not each.startswith("data.root=")],
        }

    @property
    def name(self) -> str:
        """The folder of its networks alone; those of its supernets are inside, by their passes."""
        return f"{self.task}-{derive(0, json.dumps(self.about(), sort_keys=True)):x}"


def main() -> None:
    """Answer what is not answered yet, then print the table."""
    question, names, (seeds, alone_seeds), share = _arguments()
    torch.set_num_threads(1)
    files.write_json(question.answers / question.name / "question.json", question.about())
    if share:
        for seed in alone_seeds:
            _trained(question, seed, share)
        return
    alone = [_alone(question, seed) for seed in alone_seeds]
    answers: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        answers[name] = [
            kept(
                question.answers / _place(question, name, seed).with_suffix(".json"),
                partial(_answer, question, name, seed, alone),
            )
            for seed in seeds
        ]
    print(table(question.task, alone, answers))


def _arguments() -> tuple[Question, list[str], tuple[list[int], list[int]], tuple[int, int] | None]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="synthetic")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--alone-seeds", nargs="+", type=int, help="--seeds where it is not given")
    parser.add_argument("--steps", type=int, default=250, help="optimizer steps of four subnets each")
    parser.add_argument("--alone-steps", type=int, default=250)
    parser.add_argument("--subnets", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("outputs/strategies"))
    parser.add_argument("--answers", type=Path, default=ANSWERS)
    parser.add_argument(
        "--share", nargs=2, type=int, metavar=("I", "N"), help="every N-th network alone, no supernet"
    )
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of the config")
    given = parser.parse_args()
    lengths = (4 * given.steps, given.alone_steps, given.subnets)
    question = Question(given.task, *lengths, tuple(given.set), given.out, given.answers)
    seeds = (given.seeds, given.alone_seeds or given.seeds)
    return question, given.strategies, seeds, tuple(given.share) if given.share else None


def _place(question: Question, name: str, seed: int) -> Path:
    return Path(question.name, str(question.passes), f"{name.replace(' ', '_')}-{seed}")


def _alone(question: Question, seed: int) -> dict[str, Any]:
    """Networks trained alone, one answer of them all."""
    path = question.answers / question.name / f"alone-{seed}.json"
    return kept(path, lambda: {"nets": _trained(question, seed, (0, 1))})


def _trained(question: Question, seed: int, share: tuple[int, int]) -> list[dict[str, Any]]:
    """Of `share` (i, n) every n-th network from the i-th on, each kept as soon as it is there."""
    folder = question.out / question.name / f"alone-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    cfg = question.cfg(seed)
    task = Setup(cfg).task
    net = factory.supernet(Setup(cfg))
    chosen = list(enumerate(spread(net, task.input_size, question.subnets, 0)))
    found = []
    for number, (genotype, macs) in chosen[share[0] :: share[1]]:
        path = folder / f"{number}.json"
        found.append(kept(path, partial(_one_alone, question, seed, net, genotype, macs, path)))
    return found


def _one_alone(
    question: Question, seed: int, net: Any, genotype: Genotype, macs: int, path: Path
) -> dict[str, Any]:
    began, text = time.process_time(), net.space.format(genotype)
    purpose = f"alone/{text}"
    single = static_net(net.family, net.head, genotype, derive(seed, purpose))
    error = _trained_alone(
        question, question.cfg(seed), single, derive(seed, purpose), path.with_suffix(".state")
    )
    seconds = time.process_time() - began
    print(f"alone, seed {seed}: {text} error {error:.4f}, {seconds:.0f} s", flush=True)
    return {"genotype": text, "macs": macs, "error": error, "seconds": seconds}


def _trained_alone(question: Question, cfg: DictConfig, net: Any, seed: int, state: Path) -> float:
    task, recipe = Setup(cfg).task, read_recipe(cfg, "supernet")
    steps = question.alone_steps
    images = task.dataset("train")
    workers = cfg.hardware.loader_workers
    data = TrainingData(images, recipe.batch_size, seed, workers, recipe.max_batches, steps)
    length = Duration(None, steps, warmup_iterations=steps // 10)
    rates = schedule(recipe, length, data.steps_per_epoch)
    module = SubnetModule(net, task, rates, seed, **optimizer_options(recipe))
    epochs = -(-steps // data.steps_per_epoch)
    fit(module, data, epochs, factory.devices(cfg), Resumable(state, {"seed": seed}, resume=True))
    device = factory.devices(cfg).torch_device
    net.eval().to(device)
    return best_of(validation_panel.score(net, task, "holdout", cfg.hardware.eval_batch_size, device), task)


def _answer(question: Question, name: str, seed: int, alone: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Train one supernet; its inherited errors with both kinds of statistics, and its front."""
    cfg = question.cfg(seed, *STRATEGIES[name])
    steps = _shortened(question, cfg)
    folder = question.out / _place(question, name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(cfg, Run(folder, question.task, resume=True))
    is_fresh = not (folder / "supernet").exists()
    Pretrain().run(context)
    if cfg.distill:
        Teacher().run(context)
    seconds = {"train": _timed(lambda: Supernet().run(context))}
    path = str(context.run.path(factory.SUPERNET))
    plain, renewed = (ready_evaluator(_evaluator(cfg, path, images)) for images in (0, CALIBRATED))
    found: dict[str, Any] = {"steps": steps, "step_s": seconds["train"] / steps if is_fresh else None}
    space = Setup(cfg).space
    points = [space.parse(net["genotype"]) for net in alone[0]["nets"]]
    seconds["inherited"] = _timed(lambda: found.update(inherited=_errors(plain, points)))
    seconds["recalibrated"] = _timed(lambda: found.update(recalibrated=_errors(renewed, points)))
    seconds["search"] = _timed(lambda: found.update(front=_front(cfg, renewed, seed)))
    told = ", ".join(f"{key} {value:.0f} s" for key, value in seconds.items())
    print(f"{name}, seed {seed}: {told}", flush=True)
    return {**found, "seconds": seconds}


def _errors(evaluator: EvaluatorLike, points: Sequence[Genotype]) -> list[float]:
    return [evaluator.measure(point, "shared").objectives["error"] for point in points]


def _timed(work: Callable[[], Any]) -> float:
    """Seconds of the processor, which other work on the same cores changes little."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _shortened(question: Question, cfg: DictConfig) -> int:
    """Give the curriculum the passes that are asked for, in its proportion; its optimizer steps."""
    net = factory.supernet(Setup(cfg))
    task, recipe = Setup(cfg).task, read_recipe(cfg, "supernet")
    batches = batches_per_epoch(len(task.dataset("train")), recipe.batch_size, recipe.max_batches)
    curriculum = factory.curriculum(cfg, net.space)
    pool = curriculum.strategy.size if isinstance(curriculum.strategy, ReplayPoolSampling) else 0
    passes = sum(step.optimizer_steps(batches) * (step.num_subnets + pool) for step in curriculum.steps)
    factor = question.passes / passes
    plain = to_plain(cfg.sampler.steps)
    total = 0
    for written, step in zip(plain, curriculum.steps, strict=True):
        steps = max(1, round(step.optimizer_steps(batches) * factor))
        warmup = round(step.warmup_steps(batches) * factor)
        written.update(epochs=None, iterations=steps, warmup_epochs=0, warmup_iterations=warmup)
        total += steps
    cfg.sampler.steps = plain
    return total


def _evaluator(cfg: DictConfig, path: str, recalibrate: int) -> dict[str, Any]:
    objectives = {
        "error": {"_target_": "evonas.objectives.error.Error", "recalibrate": recalibrate},
        "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
    }
    parts = {key: to_plain(cfg[key]) for key in ("space", "network", "task")}
    return {
        "_target_": "evonas.objectives.evaluator.Evaluator",
        "_recursive_": False,
        **parts,
        "objectives": objectives,
        "weights": path,
        "batch_size": cfg.hardware.eval_batch_size,
    }


def _front(cfg: DictConfig, evaluator: EvaluatorLike, seed: int) -> list[list[float]]:
    """Errors and multiply-adds (10^9) of the front that a search finds, statistics renewed."""
    space = Setup(cfg).space
    trial = run((cfg.task.name, "nsga2", seed), cfg.search, space, evaluator, ("error", "macs"))
    best: list[list[float]] = trial.values[front(trial.values)].tolist()
    return best


if __name__ == "__main__":
    main()
