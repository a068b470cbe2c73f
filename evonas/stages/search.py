"""stage=search: search for the Pareto front of a supernet's subnets, or of a table."""

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig

from evonas import files
from evonas.archive import Archive
from evonas.config import allowed, build, to_plain
from evonas.errors import EngineError, UserError
from evonas.evaluate.engine import Engine
from evonas.identifiers import identifier, named, task_in_identities
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.report.results import doubts, predictions
from evonas.search.base import ChecksObjectives, Searcher
from evonas.search.loop.asynchronous import asynchronous_search, require_asynchronous
from evonas.search.loop.evaluation import CachedEngine, Fidelity, Full
from evonas.search.loop.generational import Generation, search
from evonas.search.loop.racing import META, condensed, image_evaluations
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.engine import engine, shared_images
from evonas.stages.build.evaluator import archive_naming, evaluator_config, parts_of
from evonas.stages.build.setup import RunMode, mode_of
from evonas.stages.networks.network_files import search_file, writes_searches
from evonas.stages.networks.references import starting_points
from evonas.stages.searching.artifacts import search_tables
from evonas.stages.searching.dry_run import dry_run
from evonas.stages.searching.failures import failure_summary, machine_failures
from evonas.stages.searching.live_page import LivePage
from evonas.stages.searching.progress import SearchProgress
from evonas.stages.searching.reuse import ARCHIVE, reuse_results
from evonas.stages.tracking import trackers
from evonas.track.braille import scatter
from evonas.track.console import is_terminal
from evonas.track.progress import Progress, human_time

if TYPE_CHECKING:
    from evonas.objectives.base import Objective
    from evonas.objectives.evaluator import Evaluator
    from evonas.objectives.tabular.evaluator import Lookup, TableEvaluator

# a larger budget continues the same search
_BUDGET_KEYS = {"evaluations"}


class Search:
    """Runs the searcher against the trained supernet, or a table; evaluations go to `search/archive.sqlite`.

    Interrupted, it leaves a whole archive and no process; with `resume=true` it replays the archive and continues.
    """

    needs_task = True

    def run(self, context: Context) -> str:
        """Search until the budget is spent; returns the next command."""
        cfg, path = context.cfg, context.run.directory / ARCHIVE
        naming = archive_naming(path)
        spec = naming(evaluator_config(context))
        is_read = context.setup.mode is RunMode.TABLE and spec == to_plain(cfg.evaluator)
        evaluator: Evaluator | TableEvaluator = context.setup.table_evaluator if is_read else build(spec)
        if mode_of(cfg) is RunMode.SUPERNET and any(map(_reads_data, to_plain(cfg.objective).values())):
            context.data.check("holdout", task=cast("Evaluator", evaluator).task)
        searcher, start = built_searcher(context, evaluator.objectives)
        if cfg.get("dry_run"):
            return dry_run(context, spec, parts_of(evaluator.objectives), searcher)
        fidelity = _fidelity(cfg)
        texts = [context.setup.space.format(each) for each in start]
        meta = named({**identity(cfg, evaluator, texts), **fidelity.prepare(evaluator)}, naming)
        # errors are raised above, before there is an archive, which would ask for resume=true
        with (
            reuse_results(context, spec, evaluator, list(meta["fingerprints"])) as reuse,
            closing(Archive.open(context.run.path(ARCHIVE), meta, context.run.resume)) as archive,
            shared_images(context, spec) as shared_spec,
            closing(engine(context, shared_spec)) as workers,
        ):
            _search(context, evaluator, archive, searcher, reuse(workers), fidelity)
            written = write_search_file(context, context.run.path(ARCHIVE).parent)
            print(f"Measuring took {human_time(archive.seconds())} in all; {archive.path}", flush=True)
            chart = _front_chart(context) if is_terminal(sys.stdout) else []
            summary = failure_summary(archive)
            for line in [
                *predictions(archive.meta),
                *doubts(read(path)),
                *racing_summary(archive),
                *chart,
                *summary,
                *([f"The archive in the form of another project: {written}"] if written else []),
            ]:
                print(line, flush=True)
            failed_by_machine = machine_failures(archive)
        if failed_by_machine:
            raise EngineError(
                f"{failed_by_machine} of the evaluations failed because of the machine, and not of their genotypes.",
                f"Measure them again with: {context.run.command('search', 'resume=true', 'retry_failed=true')}\n"
                f"Go on without them with: {context.run.command('select')}",
            )
        return f"Next: {context.run.command('select')}"


def _search(
    context: Context,
    evaluator: "Evaluator | TableEvaluator",
    archive: Archive,
    searcher: Searcher,
    workers: Engine,
    fidelity: Fidelity,
) -> None:
    """Search with progress, tracker and live page."""
    budget, space = context.cfg.budget, context.setup.space
    parts = {objective.name: objective.part for objective in evaluator.objectives}
    fingerprints = archive.meta["fingerprints"]
    folder = context.run.path("search/metrics.csv").parent
    bar = Progress("search", budget.evaluations * len(fingerprints), unit="measurement")
    with trackers(context, "search", folder) as tracker, closing(LivePage(context.run)) as page, bar:
        progress = SearchProgress(
            archive,
            list(parts),
            len(fingerprints),
            budget.evaluations,
            bar,
            tracker,
            announcement_limit(context.cfg),
            context.run.command("search", "resume=true"),
            space.format,
        )

        def on_generation(generation: Generation) -> None:
            progress.generation(generation)
            page.generation(generation)

        def retry(engine: CachedEngine) -> None:
            by_print = archive.meta.get(META, {}).get("rungs", {})
            count = len([each for each in archive.evaluations() if each.state == "failed"])
            better = engine.retry_failed(by_print, condensed) if count else 0
            bar.note(f"{count} failed evaluations were measured again, and {better} of them succeeded.")

        question = (searcher, workers, archive, space, parts, fingerprints)
        if budget.get("in_flight") is None:
            before = retry if context.cfg.get("retry_failed") and context.run.resume else None
            search(*question, on_generation, progress.outcome, fidelity, before)
        else:
            sizes = budget.in_flight, budget.population
            asynchronous_search(*question, *sizes, on_generation, progress.outcome)
        if tracker.keeps_artifacts:
            for table in search_tables(read(archive.path)):
                tracker.table(table)
            tracker.artifact("archive", [archive.path])


def write_search_file(context: Context, folder: Path) -> Path | None:
    """Write the archive as another project keeps it, such as NSGANetV2's `iter_30.stats`; None where none does.

    Args:
        folder: of the file.
    """
    path = context.run.find(ARCHIVE)
    if path is None or not context.setup.mode.has_network or not writes_searches(context.setup.family):
        return None
    results = read(path)
    searcher = results.identity.get("searcher") or {}
    population = int(searcher.get("population") or context.cfg.budget.population)
    initial = int(searcher.get("initial") or population)
    found = search_file(context.setup.family, results, initial, population)
    if found is None:
        return None
    name, content = found
    files.write_json(folder / name, content)
    return folder / name


def _reads_data(objective: Mapping[str, Any]) -> bool:
    """Whether an objective measures networks on images of the task."""
    return identifier(objective.get("_target_")) in ("objective/error", "objective/finetuned_error")


def announcement_limit(cfg: DictConfig) -> float:
    """Seconds of remaining work beyond which a person at the terminal is told how to stop and resume."""
    is_attended = sys.stdin is not None and sys.stdin.isatty()
    return 3600 * cfg.get("notice_after_hours", math.inf) if is_attended else math.inf


def _front_chart(context: Context) -> list[str]:
    """The front as a chart of characters; nothing for a single objective."""
    results = read(context.run.directory / ARCHIVE)
    if len(results.names) < 2:
        return []
    y, x = results.shown[:, 0].tolist(), results.shown[:, 1].tolist()
    labels = results.metrics[1].label, results.metrics[0].label
    return scatter(x, y, front(results.values).tolist(), labels)


def _fidelity(cfg: DictConfig) -> Fidelity:
    """How exactly points are measured.

    Raises:
        UserError: racing, which compares the points of a batch, in an asynchronous search.
    """
    built: Fidelity = build(cfg.fidelity) if cfg.get("fidelity") else Full()
    if cfg.budget.get("in_flight") is not None and cfg.get("retry_failed"):
        raise UserError(
            "The order of answers decides what an asynchronous search asks, so none of them can change.",
            "Start another search, which measures only what failed or is new: run=<new name> reuse=<this run>",
        )
    if cfg.budget.get("in_flight") is not None and not isinstance(built, Full):
        raise UserError(
            "An asynchronous search has no batches, and only the points of a batch can race.",
            "Use fidelity=full, or budget.in_flight=null",
        )
    return built


def racing_summary(archive: Archive) -> list[str]:
    """A line about the image evaluations of racing; none where every point was measured in full."""
    counts = image_evaluations(archive)
    if counts is None or counts[1] == 0:
        return []
    return [f"Racing spent {counts[0] / counts[1]:.0%} of the image evaluations of full evaluation."]


def built_searcher(
    context: Context, objectives: "Sequence[Objective | Lookup]"
) -> tuple[Searcher, list[Genotype]]:
    """The searcher of a run, and the points with which it starts.

    Raises:
        UserError: it does not fit the space, the objectives, the starting points or the order of answers.
    """
    cfg, start = context.cfg, starting_points(context)
    names = [objective.name for objective in objectives]
    searcher = build_searcher(cfg.search, context.setup.space, cfg.seed, names, start)
    if cfg.budget.get("in_flight") is not None:
        parts = {objective.name: objective.part for objective in objectives}
        require_asynchronous(searcher, parts, cfg.budget.in_flight)
    return searcher, start


def build_searcher(
    node: Any, space: Space, seed: int, objectives: Sequence[str], start: Sequence[Genotype] = ()
) -> Searcher:
    """The searcher of a config.

    Args:
        objectives: names in order, for searchers whose config leaves `objectives` empty.
        start: points that it asks for first.

    Raises:
        UserError: it takes no such points, or not these objectives.
    """
    names = {"objectives": list(objectives)} if "objectives" in node and not node["objectives"] else {}
    given: dict[str, Any] = {"start": list(start)} if start else {}
    if start and "start" not in inspect.signature(allowed(node["_target_"])).parameters:
        raise UserError(
            f"This searcher ({str(node['_target_']).rpartition('.')[2]}) takes no starting points.",
            "Leave start= out, or choose another: search=nsga2, search=nsganetv2",
        )
    built: Searcher = build(node, space=space, seed=seed, **names, **given)
    if isinstance(built, ChecksObjectives):
        built.check_objectives(objectives)
    return built


def identity(
    cfg: DictConfig, evaluator: "Evaluator | TableEvaluator", start: Sequence[str] = ()
) -> dict[str, Any]:
    """What must not change over the life of a search; budgets and workers may.

    An evaluator that knows the range of its objectives (`scale`) fixes the box of the hypervolume here.
    """
    searcher = {key: value for key, value in to_plain(cfg.search).items() if key not in _BUDGET_KEYS}
    objectives = evaluator.objectives
    # the accuracy of predicted objectives is shown beside their numbers
    sources = {each.name: each.source for each in objectives if hasattr(each, "source")}
    return {
        "task": task_in_identities(cfg.task.name),
        "space": to_plain(cfg.space),
        "seed": cfg.seed,
        "searcher": searcher,
        "weights": evaluator.weights_digest,
        "objectives": [objective.name for objective in objectives],
        "units": {objective.name: objective.unit for objective in objectives},
        "fingerprints": {part: evaluator.fingerprint(part) for part in parts_of(objectives)},
        **({} if cfg.budget.get("in_flight") is None else {"in_flight": cfg.budget.in_flight}),
        **({"start": list(start)} if start else {}),
        **({"sources": sources} if sources else {}),
        **({"joint": list(cfg.multi_task_runs)} if mode_of(cfg) is RunMode.JOINT else {}),
        **getattr(evaluator, "scale", {}),
    }
