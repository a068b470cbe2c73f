"""What the report says: one function a section, from the files of a run."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas.report import plots
from evonas.report.facts import Facts, predictions
from evonas.report.interval import surely_on_front
from evonas.report.pareto import front
from evonas.report.svg import key
from evonas.report.tables import Table, compact, discovered, generations, nets, ranked, tested

Json = Mapping[str, Any]
MOST_PICTURE_BYTES = 2_000_000


@dataclass(frozen=True)
class Sources:
    """Everything a report is made of; what a run does not have yet is None or empty.

    Args:
        run: name of the run.
        task: name of the task.
        command: gives the command that runs a stage in this run.
        pictures: folder of the pictures that `test` names.
        has_network: whether the networks exist; those of a table were trained by others.
        attempts: the commands that worked on this run, oldest first.
        environment: names and values, such as versions.
        times: seconds by what took them.
    """

    run: str
    task: str
    command: Callable[[str], str]
    facts: Facts | None = None
    selected: Json | None = None
    retrained: Mapping[str, Json] = field(default_factory=dict)
    test: Json | None = None
    panel: Json | None = None
    rank: Json | None = None
    discovery: Json | None = None
    pictures: Path | None = None
    has_network: bool = True
    attempts: Sequence[str] = ()
    environment: Sequence[tuple[str, str]] = ()
    times: Sequence[tuple[str, str]] = ()

    @property
    def nets(self) -> Sequence[Json]:
        """The chosen networks."""
        return self.selected["nets"] if self.selected else []

    @property
    def is_given(self) -> bool:
        """Whether networks were chosen without a search."""
        return self.facts is None and bool(self.nets)

    @property
    def error_name(self) -> str:
        """The task's metric that everything minimises."""
        known = [part["error_name"] for part in (self.test, self.selected, self.panel, self.rank) if part]
        return known[0] if known else "error"


@dataclass(frozen=True)
class Picture:
    """An image inside the page, and what it shows."""

    caption: str
    data: str


@dataclass(frozen=True)
class Section:
    """One part of the page; the template shows what is there, in the order of these fields."""

    title: str
    texts: Sequence[str] = ()
    missing: str = ""
    command: str = ""
    legend: plots.Legend = field(default_factory=list)
    figures: Sequence[plots.Figure] = ()
    tables: Sequence[Table] = ()
    genotypes: Sequence[tuple[str, str, str]] = ()
    pictures: Sequence[Sequence[Picture]] = ()
    commands: Sequence[str] = ()


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
    """All sections, in the order of the page; a part that is missing says which command makes it."""
    found = [_discovery(sources.discovery)] if sources.discovery else []
    if not sources.has_network:
        return [front_section(sources), _chosen(sources), progress_section(sources), *found, _record(sources)]
    return [
        front_section(sources),
        _chosen(sources),
        _tested(sources),
        _pictures(sources),
        progress_section(sources),
        _supernet(sources),
        _rank(sources),
        *found,
        _record(sources),
    ]


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


def _pictures(sources: Sources) -> Section:
    title = "Predictions"
    if sources.test is None or sources.pictures is None or not sources.test.get("pictures"):
        return _missing(sources, title, "Pictures of predictions", "evaluate")
    folder, rows = sources.pictures, []
    for each in sources.test["pictures"]:
        named = {
            "input": each["image"],
            "truth": each["truth"],
            "teacher": each.get("teacher"),
            **each["nets"],
        }
        rows.append([_picture(folder, caption, file) for caption, file in named.items() if file])
    return Section(
        title,
        texts=["Images of the test split; each network has its retrained weights if there are any."],
        pictures=rows,
    )


def _picture(folder: Path, caption: str, file: str) -> Picture:
    path = folder / Path(file).name
    content = path.read_bytes() if path.is_file() and path.stat().st_size < MOST_PICTURE_BYTES else b""
    return Picture(caption, f"data:image/png;base64,{base64.b64encode(content).decode()}")


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


def _record(sources: Sources) -> Section:
    tables = [
        Table(columns, rows)
        for columns, rows in ((("took", "time"), sources.times), (("environment", ""), sources.environment))
        if rows
    ]
    text = (
        "The commands that worked on this run, oldest first; the config of each is in the folder attempts/."
    )
    return Section("How it was made", texts=[text], tables=tables, commands=["\n".join(sources.attempts)])
