"""genotype=: networks that are given, and need no search.

`run:<run>#<name>` is a network that a run has chosen, `<path>#<name>` one of a run's folder or of a
selected.json, `<archive.sqlite>#<rule>` what a rule of `select` chooses from an archive's front; anything
else is the text of a genotype. `#all` takes every network, and without a name there must be just one.
Several references are a list.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import ListConfig

from evonas import files
from evonas.errors import DataError, UserError
from evonas.report.archive_reader import read
from evonas.report.selection.rules import EXAMPLES, choose
from evonas.run import IDENTITY, LAST, Run, find_run, list_runs
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.networks.selected import SELECTED, SelectedNetwork, network_of_entry, trained_weights

ALL = "all"
TYPED = "given"
_RUN = "run:"


@dataclass(frozen=True, slots=True)
class NetworkRef:
    """One network that was given.

    Args:
        name: what the run calls it, and its folders.
        genotype: text form.
        reason: where it comes from.
        home: name of the run that it comes from, or empty.
        weights: what that run retrained, or None.
    """

    name: str
    genotype: str
    reason: str
    home: str = ""
    weights: Path | None = None


def referenced_networks(context: Context) -> list[NetworkRef]:
    """The networks that `genotype=` means, with different names; equal ones are preceded by their runs'.

    Raises:
        UserError: a run, file or name is not there, a reference means several networks, or a network
            belongs to another space.
        DataError: a file is no list of networks.
    """
    typed = context.cfg.genotype
    texts = list(typed) if isinstance(typed, list | tuple | ListConfig) else [typed]
    space = context.setup.space
    found = [_in_space(each, space) for text in texts for each in _meant(context, str(text))]
    counts = Counter(each.name for each in found)
    named = [
        replace(each, name=_full_name(each, place)) if counts[each.name] > 1 else each
        for place, each in enumerate(found, start=1)
    ]
    twice = [name for name, count in Counter(each.name for each in named).items() if count > 1]
    if twice:
        raise UserError(f"genotype= names the network {twice[0]} twice.", "Give each of them once.")
    return named


def _full_name(each: NetworkRef, place: int) -> str:
    return f"{each.home}_{each.name}" if each.home else f"{each.name}{place}"


def _meant(context: Context, text: str) -> Iterator[NetworkRef]:
    """What one reference stands for."""
    place, _, name = text.partition("#")
    path = Path(place).expanduser()
    if place.startswith(_RUN):
        yield from _chosen(_folder(context.run, place.removeprefix(_RUN)) / SELECTED, name, text)
    elif path.suffix == ".sqlite":
        yield from _of_front(path, name)
    elif path.suffix == ".json" or path.is_dir():
        yield from _chosen(path / SELECTED if path.is_dir() else path, name, text)
    else:
        yield NetworkRef(TYPED, text, "given as genotype=")


def _folder(own: Run, name: str) -> Path:
    """The folder of another run; `last` is the newest besides this one."""
    outputs, here = own.directory.parent, own.directory.resolve()
    if name == LAST:
        others = [each["directory"] for each in list_runs(outputs) if each["directory"].resolve() != here]
        name = others[-1].name if others else LAST
    folder = find_run(outputs, name)
    if folder.resolve() == here:
        raise UserError(f"genotype=run:{name} is this run itself.", "Name the run that chose the network.")
    return folder


def _chosen(path: Path, name: str, text: str) -> Iterator[NetworkRef]:
    """One network of a selected.json, or all of them."""
    home = path.parent.name if (path.parent / IDENTITY).exists() else ""
    nets = _read(path, home)
    names = ", ".join(nets)
    if not name and len(nets) > 1:
        hint = f"Add one of them, such as: 'genotype={text}#{next(iter(nets))}', or #{ALL}"
        raise UserError(f"genotype={text} may mean several networks: {names}.", hint)
    if name and name != ALL and name not in nets:
        raise UserError(f"{path} has no network '{name}'.", f"It has: {names}")
    for net in nets.values() if name in ("", ALL) else [nets[name]]:
        where = f"run {home}" if home else str(path)
        weights = dict(trained_weights(Run(path.parent, ""), net)).get("retrained")
        yield NetworkRef(net.name, net.genotype, f"{net.name} of {where}", home, weights)


def _read(path: Path, home: str) -> dict[str, SelectedNetwork]:
    if not path.exists():
        what = f"Run '{home}' has chosen no network yet" if home else f"There is no {path}"
        hint = f"Choose with: python -m evonas stage=select run={home}" if home else "Check genotype="
        raise UserError(f"{what}.", hint)
    try:
        nets = [network_of_entry(each) for each in files.read_json(path)["nets"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no list of networks.", "Name a selected.json of evonas.") from error
    if not nets:
        raise UserError(f"{path} names no network.", "Choose some with stage=select.")
    return {net.name: net for net in nets}


def _of_front(path: Path, rule: str) -> Iterator[NetworkRef]:
    """What a rule chooses from the front of an archive."""
    if not rule:
        hint = f"Add a rule, such as: 'genotype={path}#knee'. Rules are {EXAMPLES}"
        raise UserError(f"genotype={path} has many networks.", hint)
    facts = read(path)
    for choice in choose(facts, [rule]):
        yield NetworkRef(choice.name, facts.genotypes[choice.row], f"{choice.reason} of {path}")


def _in_space(each: NetworkRef, space: Space) -> NetworkRef:
    """The network with its text in canonical form."""
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
