"""Files in which others publish a network: arrays and numbers by name, or JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.data.io.safe import read_arrays, read_json
from evonas.errors import DataError, UserError
from evonas.space.genotype import Genotype
from evonas.supernets.base import PublishedNetwork, SupernetFamily, published

# of NSGANetV2, NAT and Once-for-All: net.subnet and net.config
_JSON = (".subnet", ".config")
SUFFIXES = (".npz", ".safetensors", ".pt", ".pth", *_JSON)


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
    found: PublishedNetwork = read(_values(path))
    return found


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


def _values(path: Path) -> dict[str, Any]:
    if path.suffix in _JSON:
        found = read_json(path)
        if not isinstance(found, dict):
            raise DataError(f"{path} is not a JSON object.", "Give a net.subnet or net.config file.")
        return found
    if path.suffix == ".npz":
        return read_arrays(path)
    # a text or a name is looked up without torch
    from evonas.weights import load_foreign

    return {name: tensor.numpy() for name, tensor in load_foreign(path, with_numbers=True).items()}
