"""Files in which others publish a network, as arrays and numbers by name."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evonas.data.io.safe import read_arrays
from evonas.errors import UserError
from evonas.supernets.base import PublishedNetwork, SupernetFamily

SUFFIXES = (".npz", ".safetensors", ".pt", ".pth")


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


def _values(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        return read_arrays(path)
    # a text or a name is looked up without torch
    from evonas.weights import load_foreign

    return {name: tensor.numpy() for name, tensor in load_foreign(path, with_numbers=True).items()}
