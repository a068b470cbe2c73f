"""networks=: references to networks that are named instead of searched for.

`run:<run>#<name>` is a network that a run has selected, `<path>#<name>` one of a run's folder or of a
selected.json, `<archive.sqlite>#<rule>` what a rule of `select` selects from an archive's front, and
`iter_<t>.stats#<rule>` likewise from the results of another project's search; a file of another project's network
(`stages/networks/network_files.py`) and the name of a published network of the family mean that network; anything else
is the text of a genotype. `#all` takes every network; without a name there must be only one. Several references are a
list.

start=: networks with which a search begins, by the same references; without a name all networks are meant.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from evonas.command_text import setting, shell
from evonas.errors import DataError, EvoNASError, UserError
from evonas.report.archive_reader import read
from evonas.report.results import SearchResults
from evonas.report.selection.record import read_selection
from evonas.report.selection.rules import EXAMPLES, choose
from evonas.run import IDENTITY, LAST, Run, find_run, list_runs
from evonas.search.ranking import best_first
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.setup import RunMode
from evonas.stages.networks.network_files import (
    check_settings,
    has_weights,
    is_network_file,
    is_search,
    network_named,
    search_of_file,
)
from evonas.stages.networks.selected import (
    ARCHIVE,
    SELECTED,
    SelectedNetwork,
    network_of_entry,
    trained_weights,
)

NETWORKS, START = "networks", "start"
ALL = "all"
TYPED = "given"
_RUN = "run:"


@dataclass(frozen=True, slots=True)
class NetworkRef:
    """One network that `networks=` names.

    Args:
        name: in this run; also the name of its folders.
        genotype: text form.
        reason: where it comes from, for people.
        source_run: name of the run that it comes from, or empty.
        weights: file of the weights that this run retrained, or of another project's; None without.
        source_folder: directory of that run, or None.
        is_foreign: whether the weights are another project's.
    """

    name: str
    genotype: str
    reason: str
    source_run: str = ""
    weights: Path | None = None
    source_folder: Path | None = field(default=None, compare=False)
    is_foreign: bool = False


def referenced_networks(context: Context, space: Space | None = None) -> list[NetworkRef]:
    """The networks of `networks=`; equal names are made unique by the names of their runs.

    Args:
        space: that they must belong to; None for that of the config.

    Raises:
        UserError: a run, file or name is not there, a reference means several networks, or a network
            belongs to another space.
        DataError: a file is not a list of networks.
    """
    space = context.setup.space if space is None else space
    found = [
        _canonical(each, space)
        for text in _texts(context.cfg.networks)
        for each in _resolve(context, text, NETWORKS)
    ]
    counts = Counter(each.name for each in found)
    named = [
        each if counts[each.name] == 1 else replace(each, name=_unique_name(each, place))
        for place, each in enumerate(found, start=1)
    ]
    twice = [name for name, count in Counter(each.name for each in named).items() if count > 1]
    if twice:
        raise UserError(f"networks= names the network {twice[0]} twice.", "Give each of them once.")
    return named


def starting_points(context: Context) -> list[Genotype]:
    """The networks of `start=`, with which a search begins; those of a search by rank, best first.

    Raises:
        UserError, DataError: as `referenced_networks`.
    """
    typed = context.cfg.get(START)
    if typed is None:
        return []
    space = context.setup.space
    found = [_canonical(each, space) for text in _texts(typed) for each in _resolve(context, text, START)]
    return list(dict.fromkeys(space.parse(each.genotype) for each in found))


def _texts(typed: Any) -> list[str]:
    return [str(each) for each in typed] if isinstance(typed, list | tuple | ListConfig) else [str(typed)]


def _unique_name(each: NetworkRef, place: int) -> str:
    return f"{each.source_run}_{each.name}" if each.source_run else f"{each.name}{place}"


def _resolve(context: Context, text: str, key: str) -> Iterator[NetworkRef]:
    """The networks of one reference.

    Args:
        key: setting that has it; that of starting points takes all networks where no name is given.
    """
    place, _, name = text.partition("#")
    path = Path(place).expanduser()
    name = ALL if key == START and not name else name
    if place.startswith(_RUN):
        other = _other_run(context.run, place.removeprefix(_RUN), key)
        yield from _selected(other / SELECTED, name, text, key)
    elif path.suffix == ".sqlite":
        yield from _of_search(path, name, key, read(path) if name else None)
    elif is_search(path) and not (path / SELECTED).exists():
        results, settings = search_of_file(context.setup.family, path) if name else (None, {})
        check_settings(text, settings, context.cfg.network)
        yield from _of_search(path, name, key, results)
    elif path.suffix == ".json" or _is_folder(path):
        yield from _selected(path / SELECTED if _is_folder(path) else path, name, text, key)
    elif (theirs := _published(context, text)) is not None:
        yield theirs
    else:
        yield NetworkRef(TYPED, text, f"given as {key}=")


def _published(context: Context, text: str) -> NetworkRef | None:
    """The network of another project's file, or the one that the family knows by this name."""
    if ":" in text or context.setup.mode is RunMode.TABLE:
        return None
    found = network_named(context.setup.family, text)
    if found is None:
        return None
    name, net = found
    check_settings(text, net.settings, context.cfg.network)
    if is_network_file(text):
        path = Path(text).expanduser()
        weights = path if has_weights(path) else None
        reason = f"read from {text}"
        return NetworkRef(TYPED, net.genotype, reason, weights=weights, is_foreign=weights is not None)
    return NetworkRef(name, net.genotype, f"the published network {name}")


def _is_folder(path: Path) -> bool:
    """Whether there is such a folder; genotypes are longer than names may be."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _other_run(own: Run, name: str, key: str) -> Path:
    """The folder of another run; `last` is the newest one besides this run."""
    outputs, here = own.directory.parent, own.directory.resolve()
    if name == LAST:
        others = [each["directory"] for each in list_runs(outputs) if each["directory"].resolve() != here]
        name = others[-1].name if others else LAST
    folder = find_run(outputs, name)
    if folder.resolve() == here:
        raise UserError(f"{key}=run:{name} is this run itself.", "Name the run that selected the network.")
    return folder


def _selected(path: Path, name: str, text: str, key: str) -> Iterator[NetworkRef]:
    """One network of a selected.json, or all of them."""
    source_run = path.parent.name if (path.parent / IDENTITY).exists() else ""
    source = path.parent if source_run else None
    nets = _read(path, source_run, key)
    names = ", ".join(nets)
    if not name and len(nets) > 1:
        one = shell([setting(key, f"{text}#{next(iter(nets))}")])
        hint = f"Add one of them, such as: {one}, or #{ALL}"
        raise UserError(f"{key}={text} may mean several networks: {names}.", hint)
    if name and name != ALL and name not in nets:
        raise UserError(f"{path} has no network '{name}'.", f"It has: {names}")
    for net in nets.values() if name in ("", ALL) else [nets[name]]:
        where = f"run {source_run}" if source_run else str(path)
        weights = dict(trained_weights(Run(path.parent, ""), net)).get("retrained")
        yield NetworkRef(net.name, net.genotype, f"{net.name} of {where}", source_run, weights, source)


def _read(path: Path, source_run: str, key: str) -> dict[str, SelectedNetwork]:
    if not path.exists():
        what = f"Run '{source_run}' has chosen no network yet" if source_run else f"There is no {path}"
        hint = f"Choose with: {Run(path.parent, '').command('select')}" if source_run else f"Check {key}="
        raise UserError(f"{what}.", hint)
    try:
        nets = [network_of_entry(each) for each in read_selection(path, path.parent / ARCHIVE)["nets"]]
    except (ValueError, KeyError, TypeError) as error:
        why = f": {error.message}" if isinstance(error, EvoNASError) else "."
        raise DataError(
            f"{path} is not a list of networks{why}", "Name a selected.json of evonas."
        ) from error
    if not nets:
        raise UserError(f"{path} names no network.", "Choose some with stage=select.")
    return {net.name: net for net in nets}


def _of_search(path: Path, rule: str, key: str, results: SearchResults | None) -> Iterator[NetworkRef]:
    """The networks that a rule selects from the front of a search, or all of them, best first.

    Args:
        path: of the archive or file.
        rule: empty where none is given, which is refused.
        key: setting that has it.
        results: of the search, if there is a rule.
    """
    if results is None:
        one = shell([setting(key, f"{path}#knee")])
        hint = f"Add a rule, such as: {one}. Rules are {EXAMPLES}, or #{ALL}"
        raise UserError(f"{key}={path} has many networks.", hint)
    if not len(results.genotypes):
        raise UserError(
            f"{key}={path} has no network that was measured without a failure.", "Give another search."
        )
    if rule == ALL:
        for number, row in enumerate(best_first(results.values).tolist(), start=1):
            yield NetworkRef(f"net{number}", results.genotypes[row], f"number {number} of {path}")
        return
    for choice in choose(results, [rule]):
        yield NetworkRef(choice.name, results.genotypes[choice.row], f"{choice.reason} of {path}")


def _canonical(each: NetworkRef, space: Space) -> NetworkRef:
    """The network with its genotype in canonical text; refused if it belongs to another space."""
    theirs = each.genotype.partition(":")[0]
    if each.name != TYPED and theirs != space.name:
        raise UserError(
            f"{each.reason} is a network of the space {theirs}, and this run's space is {space.name}.",
            f"Choose the space and network that it was found with, as: space={theirs} network={theirs}",
        )
    try:
        return replace(each, genotype=space.format(space.parse(each.genotype)))
    except UserError as error:
        raise UserError(f"{each.reason}: {error.message}", error.hint) from error
