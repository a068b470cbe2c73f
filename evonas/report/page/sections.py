"""What the report says: one function a section, from the files of a run."""

import base64
from pathlib import Path

from evonas.report.charts import plots
from evonas.report.charts.svg import key
from evonas.report.metrics.noisy_dominance import surely_on_front
from evonas.report.metrics.pareto import front
from evonas.report.page.analysis_sections import drawn, evolved, explained, related
from evonas.report.page.sources import Json, Picture, Section, Sources
from evonas.report.page.tables import (
    Table,
    compact,
    discovered,
    generations,
    measured,
    nets,
    ranked,
    scaled,
    tested,
)
from evonas.report.results import Facts, predictions

MOST_PICTURE_BYTES = 2_000_000


def lead(sources: Sources) -> str:
    """The sentence under the title."""
    if sources.is_given:
        return f"Task {sources.task}. Its networks were given, not searched for."
    if sources.facts is None:
        return f"Task {sources.task}. The search has not begun."
    names = ", ".join(sources.facts.label(name) for name in sources.facts.names)
    return f"Task {sources.task}. Objectives, all minimised: {names}."


def figures(sources: Sources) -> list[tuple[str, str]]:
    """The numbers at the top of the page."""
    facts, shown = sources.facts, []
    if facts is not None:
        shown += [("evaluated", str(len(facts.values))), ("failed", str(facts.num_failed))]
        shown += [("on the front", str(len(front(facts.values))))]
        if facts.hypervolume is not None:
            shown += [("hypervolume", f"{facts.hypervolume:.4f}")]
        best = facts.values.min(axis=0) if len(facts.values) else []
        shown += [
            (f"best {facts.label(name)}", compact(value))
            for name, value in zip(facts.names, best, strict=False)
        ]
    return shown


def sections(sources: Sources) -> list[Section]:
    """All sections, in the order of the page.

    A part that a stage will make says so with its command; what this kind of run never has is left out.
    """
    has = sources.has_network
    parts = [
        front_section(sources),
        evolved(sources),
        _chosen(sources),
        drawn(sources),
        _tested(sources) if has else None,
        _pictures(sources) if has else None,
        progress_section(sources),
        explained(sources),
        related(sources),
        _supernet(sources) if has else None,
        _rank(sources) if has else None,
        _discovery(sources.discovery) if sources.discovery else None,
        _cost(sources),
        _record(sources),
    ]
    return [part for part in parts if part is not None]


def _missing(sources: Sources, title: str, what: str, stage: str) -> Section:
    return Section(title, missing=f"{what} is not there yet.", command=sources.command(stage))


def _has_points(facts: Facts | None) -> bool:
    return facts is not None and len(facts.values) > 0


def front_section(sources: Sources) -> Section:
    """Every pair of objectives, with the chosen networks if there are any."""
    title, facts = "The front", sources.facts
    if facts is None or not _has_points(facts):
        return _missing(sources, title, "A finished evaluation", "search")
    chosen = plots.stars(sources.nets)
    extra = plots.parallel(facts, chosen)
    drawn = [*plots.fronts(facts, chosen), *([extra] if extra else [])]
    texts = [*predictions(facts.identity), *_doubt(facts)]
    return Section(title, texts=texts, legend=plots.legend(chosen), figures=drawn)


def _doubt(facts: Facts) -> list[str]:
    """How much of the front is noise; nothing where no interval was recorded."""
    low, high = facts.ends
    if not (low < high).any():
        return []
    rows = front(facts.values)
    certain = int(surely_on_front(rows, low, high).sum())
    further = len(set(facts.front_within_noise.tolist()) - set(rows.tolist()))
    return [
        f"Measured times are known within their 95 % intervals: {certain} of {len(rows)} networks are on the "
        f"front wherever in them the truth lies, and {further} more may be on it. select.noise=true chooses "
        "among all of these."
    ]


def _chosen(sources: Sources) -> Section:
    title = "Chosen networks"
    if not sources.nets:
        return _missing(sources, title, "A choice of networks", "select")
    if not sources.has_network:
        table = nets(sources.nets, {}, sources.error_name, sources.facts, _keys(sources))
        genotypes = [(net["name"], net["genotype"], net.get("reason", "")) for net in sources.nets]
        return Section(title, tables=[table], genotypes=genotypes)
    texts = ["Errors on the holdout split, which guided every choice; the next section has the test split."]
    untrained = [net["name"] for net in sources.nets if net["name"] not in sources.retrained]
    table = nets(sources.nets, sources.retrained, sources.error_name, sources.facts, _keys(sources))
    genotypes = [(net["name"], net["genotype"], net.get("reason", "")) for net in sources.nets]
    return Section(
        title,
        texts=texts,
        missing=f"Retraining of {', '.join(untrained)} is not there yet." if untrained else "",
        command=sources.command("retrain") if untrained else "",
        tables=[table],
        genotypes=genotypes,
        commands=[] if untrained else [_again(sources)],
    )


def _again(sources: Sources) -> str:
    """Commands that make the networks and their numbers again."""
    return "\n".join(sources.command(stage) for stage in ("select", "retrain", "evaluate", "export"))


def _keys(sources: Sources) -> dict[str, str]:
    return {star.name: key(star.shape, star.style) for star in plots.stars(sources.nets)}


def _tested(sources: Sources) -> Section:
    title = "On the test split"
    if sources.test is None:
        return _missing(sources, title, "The test result", "evaluate")
    test = sources.test
    text = f"{test['num_images']} images that no choice has seen; {test['error_name']} is what was minimised."
    return Section(title, texts=[text], tables=tested(test, _keys(sources)))


def _pictures(sources: Sources) -> Section | None:
    title = "Predictions"
    if sources.test is None or sources.pictures is None:
        return _missing(sources, title, "Pictures of predictions", "evaluate")
    if not sources.test.get("pictures"):
        return None
    costs = {net["name"]: net["macs"] for net in sources.test["nets"]}
    text = (
        "Images of the test split, and what is predicted for them, from the cheapest network to the "
        "costliest; each has its retrained weights if there are any."
    )
    rows = [_row(sources.pictures, each, costs) for each in sources.test["pictures"]]
    return Section(title, texts=[text], pictures=rows)


def _row(folder: Path, entry: Json, costs: Json) -> list[Picture]:
    cheapest_first = sorted(entry["nets"], key=lambda name: costs.get(name) or 0)
    named = {"input": entry["image"], "truth": entry["truth"], "teacher": entry.get("teacher")}
    named |= {name: entry["nets"][name] for name in cheapest_first}
    return [_picture(folder, name, file, costs.get(name)) for name, file in named.items() if file]


def _picture(folder: Path, caption: str, file: str, macs: float | None) -> Picture:
    path = folder / Path(file).name
    content = path.read_bytes() if path.is_file() and path.stat().st_size < MOST_PICTURE_BYTES else b""
    cost = "" if macs is None else f"{scaled(macs)} multiply-adds"
    return Picture(caption, f"data:image/png;base64,{base64.b64encode(content).decode()}", cost)


def progress_section(sources: Sources) -> Section:
    """Hypervolume against evaluations, why points failed, and the generations."""
    title, facts = "The search over time", sources.facts
    if facts is None or not _has_points(facts):
        return _missing(sources, title, "A finished evaluation", "search")
    drawn = plots.hypervolume_curve(facts)
    failures = [f"{count} evaluations failed: {reason}" for reason, count in sorted(facts.failures.items())]
    return Section(title, texts=failures[:5], figures=[drawn] if drawn else [], tables=[generations(facts)])


def _supernet(sources: Sources) -> Section:
    title = "The supernet's training"
    if not sources.panel or not sources.panel["steps"]:
        return _missing(sources, title, "The record of the supernet's training", "supernet")
    figure, rows = plots.panel_curves(sources.panel)
    return Section(title, legend=rows, figures=[figure])


def _rank(sources: Sources) -> Section:
    title = "Do inherited weights rank networks rightly?"
    if not sources.rank:
        return _missing(sources, title, "The ranking check", "rank")
    rank = sources.rank
    texts = []
    if rank.get("agreement"):
        same = rank["agreement"]
        texts.append(
            f"The same {same['common']} networks in run {same['run']}: Kendall tau "
            f"{compact(same['inherited'])} between the inherited errors, "
            f"{compact(same['retrained'])} between those trained alone."
        )
        if same.get("ceiling") is not None:
            texts.append(
                "Training differs from seed to seed: against one training, no score would reach more than "
                f"about {compact(same['ceiling'])}."
            )
    known = [ranked(rank)] if "predictors" in rank else []
    return Section(title, texts=texts, figures=[plots.rank_check(rank)], tables=known)


def _discovery(found: Json) -> Section:
    text = (
        f"The best of {found['formulas']} formulas over weights, gradients and activations of untrained "
        f"networks, {found['rejected']} of which were rejected. More is better."
    )
    figure, legend = plots.discovery(found)
    title = "A score that needs no training"
    return Section(
        title,
        texts=[text],
        legend=legend,
        figures=[figure],
        tables=[discovered(found)],
        commands=[found["proxy"]],
    )


def _cost(sources: Sources) -> Section | None:
    facts = sources.facts
    tables = [Table(("took", "time"), sources.times)] if sources.times else []
    tables += [measured(facts)] if facts is not None and facts.costs else []
    text = (
        "Times by the clock on the wall, of what ended; the time of commands that were killed is not in them."
    )
    return Section("What it cost", texts=[text], tables=tables) if tables else None


def _record(sources: Sources) -> Section:
    tables = [Table(("environment", ""), sources.environment)] if sources.environment else []
    text = (
        "The commands that worked on this run, oldest first; the config of each is in the folder attempts/."
    )
    return Section("How it was made", texts=[text], tables=tables, commands=["\n".join(sources.attempts)])
