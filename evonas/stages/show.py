"""stage=show: all measurements of a network of a run."""

from collections.abc import Callable, Iterator, Sequence

from evonas import files
from evonas.archive import Archive, Evaluation
from evonas.command_text import setting
from evonas.errors import UserError
from evonas.metric import reading
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.report.results import DOUBT, SearchResults, is_doubtful
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.recorded import recorded_space
from evonas.stages.networks.references import referenced_networks
from evonas.stages.networks.selected import SELECTED, SelectedNetwork, retraining_result, selected_networks
from evonas.stages.searching.reuse import ARCHIVE
from evonas.track.console import printable
from evonas.track.progress import human_time

SHOWN_EXTRAS = 12


class Show:
    """Prints the measurements of networks with their fingerprints, and the command that repeats them.

    Reads only, and may be used while a search runs.
    """

    needs_task = False

    def run(self, context: Context) -> str:
        """Print the networks of `networks=` or the selected ones; returns the command that measures the last again."""
        path = context.run.need(ARCHIVE, made_by="search")
        results = read(path)
        nets = requested_networks(context, lambda: _space(context, results))
        with Archive.read(path) as archive:
            for net in nets:
                lines = [
                    *_position(net, results),
                    *_measurements(archive, net.genotype, results),
                    *_retraining(context, net),
                ]
                print("\n".join(map(printable, lines)))
        return f"Measure again: {context.run.command('measure', setting('networks', nets[-1].genotype))}"


def _space(context: Context, results: SearchResults) -> Space:
    """The space that the archive records."""
    if context.cfg.task is not None:
        return context.setup.space
    found = recorded_space(results.identity.get("space"))
    if found is None:
        raise UserError(
            f"The space of run '{context.run.name}' cannot be made of its archive.",
            "If it is of a package of yours, add: packages=[<package>]",
        )
    return found


def requested_networks(context: Context, space: Callable[[], Space]) -> list[SelectedNetwork]:
    """The networks of a command: a selected one by its name, those of `networks=`, or all selected ones.

    Args:
        space: gives the search space of the run; called for networks that are named by their text.

    Raises:
        UserError: there is no such network, or none is selected.
    """
    known = {net.name: net for net in selected_networks(context.run)} if context.run.find(SELECTED) else {}
    typed = context.cfg.networks
    if typed is None:
        if not known:
            raise UserError("Which network?", "Add networks=<its text>, or choose some with stage=select")
        return list(known.values())
    if isinstance(typed, str) and typed.lstrip("#") in known:
        return [known[typed.lstrip("#")]]
    return [SelectedNetwork(each.name, each.genotype, {}) for each in referenced_networks(context, space())]


def _position(net: SelectedNetwork, results: SearchResults) -> Iterator[str]:
    yield f"{net.name}  {net.genotype}"
    if net.genotype not in results.genotypes:
        yield "  not among the points of the search whose every objective is known"
        return
    row = results.genotypes.index(net.genotype)
    place = "on the front" if row in front(results.values) else "dominated"
    yield f"  point {row + 1} of {len(results.genotypes)}, {place}"


def _measurements(archive: Archive, genotype: str, results: SearchResults) -> Iterator[str]:
    for part, fingerprint in archive.meta["fingerprints"].items():
        fact = archive.lookup(fingerprint, genotype)
        if fact is not None:
            yield from _fact(fact, archive.took(fingerprint, genotype), results)
        else:
            yield f"  {part}: not measured"


def _fact(fact: Evaluation, took: tuple[float, str] | None, results: SearchResults) -> Iterator[str]:
    if fact.state == "failed":
        yield f"  {fact.part}: failed: {fact.reason}"
    readings = dict(zip(results.names, results.read(fact.objectives, fact.genotype), strict=True))
    for name, value in fact.objectives.items():
        metric = results.metrics[results.column(name)]
        is_read = metric.name != name and readings[name] is not None
        mark = DOUBT if is_doubtful(value, fact.extra.get(name)) else ""
        read_as = (
            f"{metric.label} {readings[name]:.6g} ({name} {value!r})"
            if is_read
            else f"{metric.label} {value!r}"
        )
        yield f"  {read_as}{mark}"
    beside = [f"{key} {value}" for key, value in _numbers(fact.extra)]
    if beside:
        yield f"  beside: {', '.join(beside[:SHOWN_EXTRAS])}"
    where = "" if took is None else f", took {human_time(took[0])}" + (f" on {took[1]}" if took[1] else "")
    yield f"  {fact.part} fingerprint {fact.fingerprint}{where}"


def _numbers(extra: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Numbers and words of the extra data by path, without lists."""
    if isinstance(extra, dict):
        for key, value in extra.items():
            yield from _numbers(value, f"{prefix}{key}.")
    elif isinstance(extra, float):
        yield prefix.removesuffix("."), f"{extra:.6g}"
    elif isinstance(extra, int | str):
        yield prefix.removesuffix("."), str(extra)


def _retraining(context: Context, net: SelectedNetwork) -> Sequence[str]:
    found = retraining_result(context.run, net)
    if found is None:
        return []
    path = context.run.find(SELECTED)
    if path is None:
        return []
    error = str(files.read_json(path, needs=("error_name",))["error_name"])
    kinds = [kind for kind in ("inherited", "retrained", "scratch") if found.get(kind)]
    try:
        read = [reading(error, found[kind]) for kind in kinds]
        parts = ", ".join(f"{kind} {value:.4f}" for kind, (_, value) in zip(kinds, read, strict=True))
        return [f"  validation {read[0][0].name}: {parts} ({read[0][0].direction})"]
    except files.SHAPES as wrong:
        return [
            f"  its retraining cannot be shown: retrain/{net.name}/result.json is damaged: {wrong!r:.200}"
        ]
