"""stage=show: everything that is known about a network of a run."""

from collections.abc import Iterator, Sequence

from evonas.archive import Archive, Evaluation
from evonas.errors import UserError
from evonas.metric import reading
from evonas.report.archive_reader import read
from evonas.report.metrics.pareto import front
from evonas.report.results import SearchResults
from evonas.stages.base import Context
from evonas.stages.networks.references import given
from evonas.stages.networks.selected import SELECTED, Net, chosen, result
from evonas.stages.searching.reuse import ARCHIVE
from evonas.track.progress import human_time

SHOWN_EXTRAS = 12


class Show:
    """Prints what was measured of networks, under which fingerprint, and how to measure them again.

    Reads only, and may be used while a search runs.
    """

    needs_task = False

    def run(self, context: Context) -> str:
        """Without `genotype=` the chosen networks are shown; the command that measures the last one again."""
        nets = asked(context)
        path = context.run.need(ARCHIVE, made_by="search")
        facts = read(path)
        with Archive.read(path) as archive:
            for net in nets:
                print(
                    "\n".join(
                        [
                            *_head(net, facts),
                            *_measured(archive, net.genotype, facts),
                            *_trained(context, net),
                        ]
                    )
                )
        return f"Measure again: {context.run.command('measure')} 'genotype={nets[-1].genotype}'"


def asked(context: Context) -> list[Net]:
    """The networks that a command is about: a chosen one by its name, what `genotype=` means, or all chosen.

    Raises:
        UserError: there is no such network, or none is chosen.
    """
    known = {net.name: net for net in chosen(context.run)} if context.run.find(SELECTED) else {}
    typed = context.cfg.genotype
    if typed is None:
        if not known:
            raise UserError("Which network?", "Add genotype=<its text>, or choose some with stage=select")
        return list(known.values())
    if isinstance(typed, str) and typed.lstrip("#") in known:
        return [known[typed.lstrip("#")]]
    return [Net(each.name, each.genotype, {}) for each in given(context)]


def _head(net: Net, facts: SearchResults) -> Iterator[str]:
    yield f"{net.name}  {net.genotype}"
    if net.genotype not in facts.genotypes:
        yield "  not among the points of the search whose every objective is known"
        return
    row = facts.genotypes.index(net.genotype)
    place = "on the front" if row in front(facts.values) else "dominated"
    yield f"  point {row + 1} of {len(facts.genotypes)}, {place}"


def _measured(archive: Archive, genotype: str, facts: SearchResults) -> Iterator[str]:
    for part, fingerprint in archive.meta["fingerprints"].items():
        fact = archive.lookup(fingerprint, genotype)
        if fact is not None:
            yield from _fact(fact, archive.took(fingerprint, genotype), facts)
        else:
            yield f"  {part}: not measured"


def _fact(fact: Evaluation, took: tuple[float, str] | None, facts: SearchResults) -> Iterator[str]:
    if fact.state == "failed":
        yield f"  {fact.part}: failed: {fact.reason}"
    readings = dict(zip(facts.names, facts.read(fact.objectives, fact.genotype), strict=True))
    for name, value in fact.objectives.items():
        metric = facts.metrics[facts.column(name)]
        is_read = metric.name != name and readings[name] is not None
        yield (
            f"  {metric.label} {readings[name]:.6g} ({name} {value!r})" if is_read else f"  {name} {value!r}"
        )
    beside = [f"{key} {value}" for key, value in _numbers(fact.extra)]
    if beside:
        yield f"  beside: {', '.join(beside[:SHOWN_EXTRAS])}"
    where = "" if took is None else f", took {human_time(took[0])}" + (f" on {took[1]}" if took[1] else "")
    yield f"  {fact.part} fingerprint {fact.fingerprint}{where}"


def _numbers(extra: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Numbers and words among the extra facts, by path; long lists are left out."""
    if isinstance(extra, dict):
        for key, value in extra.items():
            yield from _numbers(value, f"{prefix}{key}.")
    elif isinstance(extra, float):
        yield prefix.removesuffix("."), f"{extra:.6g}"
    elif isinstance(extra, int | str):
        yield prefix.removesuffix("."), str(extra)


def _trained(context: Context, net: Net) -> Sequence[str]:
    found = result(context.run, net)
    if found is None:
        return []
    error = str(context.setup.task.error_name)
    kinds = [kind for kind in ("inherited", "retrained", "scratch") if found.get(kind)]
    read = [reading(error, found[kind]) for kind in kinds]
    parts = ", ".join(f"{kind} {value:.4f}" for kind, (_, value) in zip(kinds, read, strict=True))
    return [f"  validation {read[0][0].name}: {parts} ({read[0][0].direction})"]
