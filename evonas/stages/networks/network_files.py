"""Files in which others publish a network or a search: arrays and numbers by name, JSON, or weights.

Of NSGANetV2, NAT and Once-for-All these are net.subnet and net.config (JSON), net.inherited and net.init (weights of
the network in the files beside), and the results of a search: iter_<t>.stats, or the folder that holds it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas.data.io.safe import read_arrays, read_json
from evonas.errors import DataError, EvoNASError, UserError
from evonas.report.results import SearchResults
from evonas.space.genotype import Genotype
from evonas.supernets.base import PublishedNetwork, PublishedSearch, SupernetFamily, published

if TYPE_CHECKING:
    from torch import Tensor

_JSON = (".subnet", ".config")
# of any number in such a file; NaN is not below it either
_MOST = 1e15
_WEIGHTS = (".inherited", ".init")
SUFFIXES = (".npz", ".safetensors", ".pt", ".pth", *_JSON, *_WEIGHTS)
# networks beside weights, the preferred one first
_BESIDE = ("net.subnet", "net.config")
SEARCH = ".stats"
_BATCH = re.compile(r"iter_(\d+)(\.stats)?")
_NETWORK = re.compile(r"net_(\d+)\.subnet")
# folders of a search hold no more files of networks than this
_MAX_NETWORKS = 100_000


def is_network_file(text: str) -> bool:
    """Whether a text is the path of such a file, by its ending."""
    return ":" not in text and Path(text).suffix in SUFFIXES


def network_of_file(family: SupernetFamily, path: Path) -> PublishedNetwork:
    """The network of a file, and the arguments of the family that it has.

    Raises:
        UserError: the file does not exist, the family reads none, or its space does not have the network.
        DataError: the file is damaged, or not one of the family's.
    """
    read = getattr(family, "read_network", None)
    if read is None:
        raise UserError(
            f"Networks of space {family.space.name} are not read from files.", "Give the text of one."
        )
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    if has_weights(path):
        beside = [path.with_name(name) for name in _BESIDE]
        path = next((each for each in beside if each.is_file()), path)
        if has_weights(path):
            raise UserError(
                f"Beside {path} there is neither {' nor '.join(_BESIDE)}, which say what network it is.",
                "Put one of them into the same folder.",
            )
    with _naming(path):
        found: PublishedNetwork = read(_values(path))
    return found


def has_weights(path: Path) -> bool:
    """Whether a file has the weights of one network, by its ending."""
    return path.suffix in _WEIGHTS


def is_search(path: Path) -> bool:
    """Whether a path is the results of another project's search, or a folder with them."""
    if path.suffix == SEARCH:
        return True
    try:
        return path.is_dir() and any(_BATCH.fullmatch(each.name) for each in path.iterdir())
    except OSError:
        return False


def search_of_file(family: SupernetFamily, path: Path) -> tuple[SearchResults, Mapping[str, Any]]:
    """The results of a search, and the arguments of the family that its networks have.

    Args:
        family: that the networks belong to.
        path: `iter_<t>.stats`, or the folder of a search: its last such file is read, or the files of its networks.

    Raises:
        UserError: there is no such file, the family reads none, or its space does not have a network.
        DataError: a file is damaged, or not one of the family's.
    """
    read = getattr(family, "read_search", None)
    if read is None:
        raise UserError(
            f"Searches of space {family.space.name} are not read from files.", "Give networks one by one."
        )
    folder = path if path.is_dir() else path.parent
    files = sorted((number, each) for number, each in _batches(folder) if each.is_file())
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"There is no file {path}.", "Check the path.")
        files = [(0, path)]
    networks = list(_networks(folder))
    with _naming(files[-1][1] if files else folder):
        search: PublishedSearch = read(_object(files[-1][1]) if files else None, networks)
    settings: dict[str, Any] = {}
    for network in search.networks:
        check_settings(str(path), settings, {**settings, **network.settings})
        settings |= network.settings
    texts = tuple(each.genotype for each in search.networks)
    values = np.array(search.values, dtype=float).reshape(len(texts), len(search.names))
    return SearchResults(search.names, texts, values), settings


def writes_searches(family: SupernetFamily) -> bool:
    """Whether another project keeps searches of such networks in files."""
    return hasattr(family, "write_search")


def search_file(
    family: SupernetFamily, results: SearchResults, initial: int, population: int
) -> tuple[str, Mapping[str, Any]] | None:
    """Name and JSON content of the file in which another project keeps such a search; None where there is none.

    Args:
        family: of the networks.
        results: those of the search, in order.
        initial: number of networks of its first batch.
        population: number of networks of each further batch.
    """
    write = getattr(family, "write_search", None)
    if write is None or not results.names[0].startswith("error") or results.metrics[0].key != "top1":
        return None
    search = PublishedSearch(
        results.names,
        tuple(PublishedNetwork(text, {}) for text in results.genotypes),
        tuple(tuple(row) for row in results.values.tolist()),
    )
    later = max(0, len(search.networks) - initial)
    batches = max(1, -(-later // population))
    content = write(search, later - (batches - 1) * population, initial)
    return None if content is None else (f"iter_{batches}{SEARCH}", content)


def _batches(folder: Path) -> Iterator[tuple[int, Path]]:
    for each in folder.iterdir() if folder.is_dir() else ():
        match = _BATCH.fullmatch(each.name)
        if match is not None:
            yield int(match[1]), each


def _networks(folder: Path) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yields network and results of each network in the folders of a search, in the order of its evaluations."""
    count = 0
    for _, batch in sorted((number, each) for number, each in _batches(folder) if each.is_dir()):
        numbered = ((_NETWORK.fullmatch(each.name), each) for each in batch.iterdir())
        for _, path in sorted((int(match[1]), each) for match, each in numbered if match is not None):
            count += 1
            if count > _MAX_NETWORKS:
                raise DataError(f"{folder} holds more than {_MAX_NETWORKS} networks.", "Is it a search?")
            stats = path.with_suffix(SEARCH)
            # a network without results failed
            if stats.is_file():
                yield _object(path), _object(stats)


def network_named(family: SupernetFamily, text: str) -> tuple[str, PublishedNetwork] | None:
    """Name and network of another project's file, or of a published network in any case; None for other texts.

    Raises:
        UserError, DataError: see `network_of_file`.
    """
    if is_network_file(text):
        path = Path(text).expanduser()
        return path.name, network_of_file(family, path)
    return {name.lower(): (name, net) for name, net in published(family).items()}.get(text.lower())


def network_files(family: SupernetFamily, genotype: Genotype, head: Any) -> Mapping[str, Mapping[str, Any]]:
    """A network in the formats of other projects, as JSON data by file name; empty for families without one."""
    write = getattr(family, "network_files", None)
    found: Mapping[str, Mapping[str, Any]] = {} if write is None else write(genotype, head)
    return found


def network_weights(family: SupernetFamily, state: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    """The tensors of a static network in the naming of the family's publication; empty where it has none."""
    name = getattr(family, "network_weights", None)
    found: Mapping[str, Tensor] = {} if name is None else name(state)
    return found


def check_settings(name: str, settings: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Refuse a network whose family has other arguments than the config.

    Args:
        name: of the network, for people.
        settings: arguments that the network has.
        network: those of the config.

    Raises:
        UserError: one of them differs.
    """
    for key, value in settings.items():
        if network.get(key) != value:
            typed = "null" if value is None else value
            raise UserError(
                f"{name} has network.{key}={typed}, not {network.get(key)}.", f"Add network.{key}={typed}."
            )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Names the file in errors that are about its content."""
    try:
        yield
    except EvoNASError as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", error.hint) from error


def _values(path: Path) -> dict[str, Any]:
    if path.suffix in _JSON:
        return _object(path)
    if path.suffix == ".npz":
        return read_arrays(path)
    # a text or a name is looked up without torch
    from evonas.weights import load_foreign

    return {name: tensor.numpy() for name, tensor in load_foreign(path, with_numbers=True).items()}


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object.", "Give a file of NSGANetV2, NAT or Once-for-All.")
    left: list[Any] = [found]
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int | float) and not -_MOST <= value <= _MOST:
            raise DataError(
                f"{path} has the number {str(value)[:20]}, which no network and no result has.",
                "Download or write it again.",
            )
    return found
