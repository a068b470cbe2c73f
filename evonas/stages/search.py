"""stage=search: look for the front of the supernet's subnets, evaluation by evaluation."""

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from evonas.archive import Archive
from evonas.config import build, to_plain
from evonas.errors import UserError
from evonas.evaluate.engine import PARTS, Engine, Part
from evonas.identifiers import named
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.report.results import predictions
from evonas.search.base import Searcher
from evonas.search.loop.asynchronous import asynchronous_search, require_asynchronous
from evonas.search.loop.evaluation import Fidelity, Full
from evonas.search.loop.generational import Generation, search
from evonas.search.loop.racing import image_evaluations
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.build.engine import engine
from evonas.stages.build.objectives import located
from evonas.stages.build.run_mode import RunMode
from evonas.stages.build.setup import Setup
from evonas.stages.naming import naming_in
from evonas.stages.searching.artifacts import keep, tables_of
from evonas.stages.searching.dry_run import dry_run, parts_of
from evonas.stages.searching.live_page import Live
from evonas.stages.searching.progress import Watch
from evonas.stages.searching.reuse import ARCHIVE, reusing
from evonas.stages.searching.shared_images import sharing
from evonas.track.base import GuardedTracker
from evonas.track.braille import scatter
from evonas.track.progress import Progress, human_time, is_terminal

if TYPE_CHECKING:
    from evonas.objectives.evaluator import Evaluator
    from evonas.objectives.tabular.evaluator import TableEvaluator

OnGeneration = Callable[[Generation], None]

# a larger budget continues the same search
_BUDGET_KEYS = {"evaluations"}
_DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}


class Search:
    """Runs the searcher against the trained supernet, or a table; every fact goes to `search/archive.sqlite`.

    Interrupted, it leaves a whole archive and no process; with `resume=true` it replays the
    archive and goes on where it was.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Search until the budget is spent; the next command."""
        naming = naming_in(context.run.directory / ARCHIVE)
        spec = naming(evaluator_config(context))
        evaluator: Evaluator | TableEvaluator = build(spec)
        if context.cfg.get("dry_run"):
            return dry_run(context, spec, parts_of(evaluator.objectives), _searcher(context.setup, evaluator))
        fidelity = _fidelity(context.cfg)
        about = named({**identity(context.cfg, evaluator), **fidelity.prepare(evaluator)}, naming)
        # whatever is wrong with them must be said before there is an archive, which would want resume=true
        asking = _searcher(context.setup, evaluator)
        with (
            reusing(context, spec, evaluator, list(about["fingerprints"])) as reuse,
            closing(Archive.open(context.run.path(ARCHIVE), about, context.run.resume)) as archive,
            sharing(context, spec) as shared,
            closing(engine(context, shared)) as workers,
        ):
            self._search(context, evaluator, archive, asking, reuse(workers), fidelity)
            print(f"Measuring took {human_time(archive.seconds())} in all; {archive.path}", flush=True)
            for line in [*predictions(archive.meta), *said_of_race(archive), *_picture(context)]:
                print(line, flush=True)
        path = context.run.directory / ARCHIVE
        keep(context, "search", "archive", [path], lambda: tables_of(read(path)))
        return f"Next: {context.run.command('select')}"

    def _search(
        self,
        context: Context,
        evaluator: "Evaluator | TableEvaluator",
        archive: Archive,
        asking: Searcher,
        workers: Engine,
        fidelity: Fidelity,
    ) -> None:
        cfg, space = context.cfg, context.setup.space
        parts = _parts(evaluator)
        fingerprints = archive.meta["fingerprints"]
        budget, num_parts = cfg.budget.evaluations, len(fingerprints)
        folder = context.run.path("search/metrics.csv").parent
        tracker = GuardedTracker(build(cfg.tracker, folder=folder, run=context.run.name, stage="search"))
        progress = Progress("search", budget * num_parts, unit="measurement")
        with closing(tracker), closing(Live(context.run)) as live, progress:
            announced = long_after(cfg), f"{context.run.command('search')} resume=true"
            watch = Watch(
                archive, list(parts), num_parts, budget, progress, tracker, *announced, space.format
            )
            question = (asking, workers, archive, space, parts, fingerprints)
            listeners = _both(watch.generation, live.generation), watch.outcome
            if cfg.budget.get("in_flight") is None:
                search(*question, *listeners, fidelity)
            else:
                asynchronous_search(*question, cfg.budget.in_flight, cfg.budget.population, *listeners)


def long_after(cfg: DictConfig) -> float:
    """Seconds of work beyond which whoever sits at the terminal is told how to stop and go on."""
    is_attended = sys.stdin is not None and sys.stdin.isatty()
    return 3600 * cfg.get("confirm_over", math.inf) if is_attended else math.inf


def _picture(context: Context) -> list[str]:
    """The front for a terminal; elsewhere lines are few and the page beside the archive has it."""
    if not is_terminal(sys.stdout):
        return []
    facts = read(context.run.directory / ARCHIVE)
    if len(facts.names) < 2:
        return []
    up, across = facts.shown[:, 0].tolist(), facts.shown[:, 1].tolist()
    names = facts.metrics[1].label, facts.metrics[0].label
    return scatter(across, up, front(facts.values).tolist(), names)


def _both(first: OnGeneration, second: OnGeneration) -> OnGeneration:
    def listen(generation: Generation) -> None:
        first(generation)
        second(generation)

    return listen


def _parts(evaluator: "Evaluator | TableEvaluator") -> dict[str, Part]:
    return {objective.name: objective.part for objective in evaluator.objectives}


def _searcher(setup: Setup, evaluator: "Evaluator | TableEvaluator") -> Searcher:
    """The searcher of the config, which suits the way it will be asked."""
    cfg, parts = setup.cfg, _parts(evaluator)
    asking = searcher(cfg.search, setup.space, cfg.seed, list(parts))
    if cfg.budget.get("in_flight") is not None:
        require_asynchronous(asking, parts, cfg.budget.in_flight)
    return asking


def _fidelity(cfg: DictConfig) -> Fidelity:
    """How exactly points are measured; a race is between the points of a batch."""
    built: Fidelity = build(cfg.evaluate) if cfg.get("evaluate") else Full()
    if cfg.budget.get("in_flight") is not None and not isinstance(built, Full):
        raise UserError(
            "An asynchronous search has no batches, and only the points of a batch can race.",
            "Use evaluate=full, or budget.in_flight=null",
        )
    return built


def said_of_race(archive: Archive) -> list[str]:
    """A line about the images that racing looked at; none where every point was measured in full."""
    counts = image_evaluations(archive)
    if counts is None or counts[1] == 0:
        return []
    return [f"Racing spent {counts[0] / counts[1]:.0%} of the image evaluations of full evaluation."]


def searcher(node: Any, space: Space, seed: int, objectives: Sequence[str]) -> Searcher:
    """The searcher of a config; one that speaks of objectives by name is told their order."""
    named = {"objectives": list(objectives)} if "objectives" in node and not node["objectives"] else {}
    built: Searcher = build(node, space=space, seed=seed, **named)
    return built


def evaluator_config(context: Context) -> dict[str, Any]:
    """What every worker builds its evaluator from, as plain data."""
    cfg = context.cfg
    if context.setup.mode is RunMode.TABLE:
        own: dict[str, Any] = to_plain(cfg.evaluator)
        return own
    if context.setup.mode is RunMode.JOINT:
        from evonas.stages.build.joint import joint_config

        return joint_config(context, device(cfg.hardware.accelerator))
    # a table is searched in seconds, and torch alone takes as long to import
    from evonas.stages.build.factory import SUPERNET

    return {
        "_target_": "evonas.objectives.evaluator.Evaluator",
        "_recursive_": False,
        "space": to_plain(cfg.space),
        "network": to_plain(cfg.network),
        "task": to_plain(cfg.task),
        "objectives": located(to_plain(cfg.objective), context.run),
        "weights": str(context.run.need(SUPERNET, made_by="supernet")),
        "batch_size": eval_batch_size(context.setup),
        "device": device(cfg.hardware.accelerator),
        "precision": cfg.hardware.precision,
    }


def identity(cfg: DictConfig, evaluator: "Evaluator | TableEvaluator") -> dict[str, Any]:
    """What must not change over the life of a search; budgets and workers may.

    An evaluator that knows the range of its objectives (`scale`) fixes the scale of the hypervolume here.
    """
    searcher = {key: value for key, value in to_plain(cfg.search).items() if key not in _BUDGET_KEYS}
    objectives = evaluator.objectives
    parts = [part for part in PARTS if any(objective.part == part for objective in objectives)]
    # predicted objectives say how well, wherever their numbers are shown
    sources = {each.name: each.source for each in objectives if hasattr(each, "source")}
    return {
        "task": cfg.task.name,
        "space": to_plain(cfg.space),
        "seed": cfg.seed,
        "searcher": searcher,
        "weights": evaluator.weights_digest,
        "objectives": [objective.name for objective in objectives],
        "units": {objective.name: objective.unit for objective in objectives},
        "fingerprints": {part: evaluator.fingerprint(part) for part in parts},
        **({} if cfg.budget.get("in_flight") is None else {"in_flight": cfg.budget.in_flight}),
        **({"sources": sources} if sources else {}),
        **({} if cfg.get("joint") is None else {"joint": list(cfg.joint)}),
        **getattr(evaluator, "scale", {}),
    }


def device(accelerator: str) -> str:
    """Torch's name of the device that `hardware.accelerator` means."""
    if accelerator == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator not in _DEVICES:
        known = ", ".join(["auto", *_DEVICES])
        raise UserError(f"hardware.accelerator={accelerator} is unknown.", f"Choose among {known}.")
    return _DEVICES[accelerator]
