"""Sections of the report, one function each."""

import base64
from pathlib import Path

from evonas.metric import Metric, converted, metric_of
from evonas.report.charts import plots
from evonas.report.charts.svg import key
from evonas.report.metrics.pareto import front, surely_on_front
from evonas.report.page.analysis_sections import (
    architectures,
    front_over_time,
    gene_importance,
    genealogy_of_selected,
)
from evonas.report.page.sources import Json, Picture, Section, Sources
from evonas.report.page.tables import (
    Table,
    baselines,
    compact,
    discovered,
    gained,
    generations,
    measured,
    nets,
    ranked,
    scaled,
    tested,
)
from evonas.report.results import SearchResults, doubts, measured_with, predictions

MAX_PICTURE_BYTES, MAX_PICTURES_BYTES = 2_000_000, 64_000_000


def lead(sources: Sources) -> str:
    """The line below the title."""
    if sources.is_given:
        return f"Task {sources.task}. The networks were given, without a search."
    if sources.results is None:
        return f"Task {sources.task}. The search has not started."
    gained = f"{sources.gain.sentence()} " if sources.gain is not None else ""
    names = ", ".join(f"{metric.label} ({metric.direction})" for metric in sources.results.metrics)
    return f"{gained}Task {sources.task}. Objectives: {names}."


def figures(sources: Sources) -> list[tuple[str, str]]:
    """Key figures at the top of the page: (name, value)."""
    results, shown = sources.results, []
    if results is not None:
        shown += [("evaluated", str(len(results.values))), ("failed", str(results.num_failed))]
        shown += [("Pareto front", str(len(front(results.values))))]
        if results.hypervolume is not None:
            shown += [("hypervolume", f"{results.hypervolume:.4f}")]
        if len(results.values):
            shown += [
                (f"best {metric.label}", compact(metric.best(column)))
                for metric, column in zip(results.metrics, results.shown.T, strict=True)
            ]
    return shown


def sections(sources: Sources) -> list[Section]:
    """All sections, in the order of the page.

    A section whose stage has not run yet shows the command of that stage; sections that do not apply to this
    kind of run are left out.
    """
    has = sources.has_network
    parts = [
        Section("Damaged files", texts=list(sources.damaged)) if sources.damaged else None,
        front_section(sources),
        front_over_time(sources),
        _chosen(sources),
        _baselines(sources) if has else None,
        architectures(sources),
        _tested(sources) if has else None,
        _pictures(sources) if has else None,
        progress_section(sources),
        gene_importance(sources),
        genealogy_of_selected(sources),
        _supernet(sources) if has else None,
        _rank(sources) if has else None,
        _discovery(sources.discovery, converted(sources.discovery["error_name"], sources.metric_keys))
        if sources.discovery
        else None,
        _cost(sources),
        _record(sources),
    ]
    return [part for part in parts if part is not None]


def _missing(sources: Sources, title: str, what: str, stage: str) -> Section:
    return Section(title, missing=f"{what} is not available yet.", command=sources.command(stage))


def _has_points(results: SearchResults | None) -> bool:
    return results is not None and len(results.values) > 0


def front_section(sources: Sources) -> Section:
    """Pareto front of every pair of objectives, with the selected networks."""
    title, results = "Pareto front", sources.results
    if results is None or not _has_points(results):
        return _missing(sources, title, "A finished evaluation", "search")
    chosen = plots.stars(sources.nets)
    extra = plots.parallel(results, chosen)
    marked = [
        *chosen,
        *plots.trained_stars(chosen, sources.retrained, sources.rivals, sources.error_name, results),
    ]
    drawn = [*plots.fronts(results, marked), *([extra] if extra else [])]
    texts = [
        *predictions(results.identity),
        *doubts(results),
        *measured_with(results),
        *_uncertainty(results),
    ]
    if sources.rivals:
        is_inherited = not any("trained_steps" in extra for extra in results.extras)
        texts.append(
            f"{'The search measures errors with inherited weights. ' * is_inherited}Baselines are trained networks; "
            "beside them each selected network stands once more with its error after retraining."
        )
    return Section(title, texts=texts, legend=plots.legend(marked), figures=drawn)


def _uncertainty(results: SearchResults) -> list[str]:
    """Sentence about measurement noise; empty without recorded intervals."""
    low, high = results.ends
    if not (low < high).any():
        return []
    rows = front(results.values)
    certain = int(surely_on_front(rows, low, high).sum())
    further = len(set(results.front_within_noise.tolist()) - set(rows.tolist()))
    return [
        f"Within the 95 % intervals of measured times, {certain} of {len(rows)} networks are certainly on the "
        f"Pareto front, and {further} further networks may be on it. select.noise_aware=true selects among all of "
        "these."
    ]


def _chosen(sources: Sources) -> Section:
    title = "Selected networks"
    if not sources.nets:
        return _missing(sources, title, "A selection of networks", "select")
    retrained = sources.retrained if sources.has_network else {}
    metric = metric_of(sources.error_name, sources.metric_keys)
    table = nets(
        sources.nets, retrained, sources.error_name, metric, sources.results, _keys(sources), sources.rivals
    )
    genotypes = [(net["name"], net["genotype"], net.get("reason", "")) for net in sources.nets]
    if not sources.has_network:
        return Section(title, tables=[table], genotypes=genotypes)
    texts = [
        "Measured on the validation split, which the search and the selection used; see also the test results."
    ]
    untrained = [net["name"] for net in sources.nets if net["name"] not in sources.retrained]
    # commands that reproduce the networks and their results
    again = "\n".join(sources.command(stage) for stage in ("select", "retrain", "evaluate", "export"))
    return Section(
        title,
        texts=texts,
        missing=f"Retraining of {', '.join(untrained)} is not available yet." if untrained else "",
        command=sources.command("retrain") if untrained else "",
        tables=[table],
        genotypes=genotypes,
        commands=[] if untrained else [again],
    )


def _baselines(sources: Sources) -> Section | None:
    """What each baseline reaches after each training, and the selected networks beside them at equal cost."""
    if not sources.baselines:
        return None
    about, gain = sources.baselines, sources.gain
    steps = ", ".join(f"{name}: {count} optimizer steps" for name, count in about["steps"].items())
    text = (
        "Networks that were not searched, with the task's head, trained by the recipe of the retraining without a "
        f"teacher ({steps}; a selected network had {about['supernet_steps']} steps inside the supernet and "
        f"{about['retrain_steps']} alone). Measured on the validation split."
    )
    texts = [text] if gain is None else [gain.sentence(), text]
    metric = metric_of(about["error_name"], sources.metric_keys)
    tables = [baselines(about, metric, sources.results), *([] if gain is None else [gained(gain)])]
    return Section("Baselines", texts=texts, tables=tables)


def _keys(sources: Sources) -> dict[str, str]:
    return {star.name: key(star.shape, star.style) for star in plots.stars(sources.nets)}


def _tested(sources: Sources) -> Section:
    title = "Test results"
    if sources.test is None:
        return _missing(sources, title, "The test result", "evaluate")
    test = sources.test
    metric = metric_of(test["error_name"], test["baseline"]["metrics"])
    text = (
        f"{test['num_images']} images that neither search nor selection used; the search optimised {metric.name} "
        f"({metric.direction})."
    )
    return Section(title, texts=[text], tables=tested(test, _keys(sources)))


def _pictures(sources: Sources) -> Section | None:
    title = "Predictions"
    if sources.test is None or sources.pictures is None:
        return _missing(sources, title, "The images of predictions", "evaluate")
    if not sources.test.get("pictures"):
        return None
    costs = {net["name"]: net["macs"] for net in sources.test["nets"]}
    text = (
        "Images of the test split with the predictions of each network, sorted by MACs; networks use their "
        "retrained weights if available."
    )
    rows, size = [], 0
    for each in sources.test["pictures"]:
        rows.append(_row(sources.pictures, each, costs))
        size += sum(len(picture.data) for picture in rows[-1])
        if size > MAX_PICTURES_BYTES:
            break
    return Section(title, texts=[text], pictures=rows)


def _row(folder: Path, entry: Json, costs: Json) -> list[Picture]:
    cheapest_first = sorted(entry["nets"], key=lambda name: costs.get(name) or 0)
    named = {"input": entry["image"], "truth": entry["truth"], "teacher": entry.get("teacher")}
    named |= {name: entry["nets"][name] for name in cheapest_first}
    return [_picture(folder, name, file, costs.get(name)) for name, file in named.items() if file]


def _picture(folder: Path, caption: str, file: str, macs: float | None) -> Picture:
    path = folder / Path(file).name
    content = path.read_bytes() if path.is_file() and path.stat().st_size < MAX_PICTURE_BYTES else b""
    cost = "" if macs is None else f"{scaled(macs)} MACs"
    return Picture(caption, f"data:image/png;base64,{base64.b64encode(content).decode()}", cost)


def progress_section(sources: Sources) -> Section:
    """Hypervolume over the search, failures, and a table of its progress."""
    title, results = "Hypervolume", sources.results
    if results is None or not _has_points(results):
        return _missing(sources, title, "A finished evaluation", "search")
    drawn = plots.hypervolume_curve(results)
    failures = [f"{count} evaluations failed: {reason}" for reason, count in sorted(results.failures.items())]
    return Section(title, texts=failures[:5], figures=[drawn] if drawn else [], tables=[generations(results)])


def _supernet(sources: Sources) -> Section:
    title = "Supernet training"
    if not sources.panel or not sources.panel["steps"]:
        return _missing(sources, title, "The record of the supernet training", "supernet")
    figure, rows = plots.panel_curves(sources.panel)
    return Section(title, legend=rows, figures=[figure])


def _rank(sources: Sources) -> Section:
    title = "Rank correlation"
    if not sources.rank:
        return _missing(sources, title, "The ranking check", "rank")
    rank = sources.rank
    texts = []
    if rank.get("agreement"):
        same = rank["agreement"]
        texts.append(
            f"The same {same['common']} networks in run {same['run']}: Kendall tau "
            f"{compact(same['inherited'])} with inherited weights, "
            f"{compact(same['retrained'])} after training alone."
        )
        if same.get("ceiling") is not None:
            texts.append(
                "Because training varies between seeds, no score can reach a tau above about "
                f"{compact(same['ceiling'])} against a single training."
            )
    metric = converted(rank["error_name"], sources.metric_keys)
    known = [ranked(rank, metric)] if "predictors" in rank else []
    return Section(title, texts=texts, figures=[plots.rank_check(rank, metric)], tables=known)


def _discovery(found: Json, metric: Metric) -> Section:
    text = (
        f"The best of {found['formulas']} formulas over weights, gradients and activations of untrained "
        f"networks; {found['rejected']} formulas were rejected. Larger is better."
    )
    figure, legend = plots.discovery(found, metric)
    title = "Zero-cost proxy"
    return Section(
        title,
        texts=[text],
        legend=legend,
        figures=[figure],
        tables=[discovered(found)],
        commands=[found["proxy"]],
    )


def _cost(sources: Sources) -> Section | None:
    results = sources.results
    tables = [Table(("command", "time"), sources.times)] if sources.times else []
    tables += [measured(results)] if results is not None and results.costs else []
    text = "Wall-clock time of completed commands; the time of killed commands is not included."
    return Section("Wall-clock time", texts=[text], tables=tables) if tables else None


def _record(sources: Sources) -> Section:
    tables = [Table(("environment", ""), sources.environment)] if sources.environment else []
    text = "The commands of this run, oldest first; the config of each is in the folder attempts/."
    return Section("Reproducibility", texts=[text], tables=tables, commands=["\n".join(sources.attempts)])
