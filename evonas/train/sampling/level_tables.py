"""Tables of networks by cost level from files: those of stage=cost_levels, and published ones as JSON.

Published tables are pickles, which can run code when they are read, so they are refused. Where they were made they are
written as JSON, a file for each level: a list of networks, each as nested lists that the family knows (a method
`read_network(found) -> Genotype`).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.data.io import safe
from evonas.errors import DataError, EvoNASError, UserError
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily

Rows = NDArray[np.int8]
_NAME = re.compile(r"flops_(\d+)\.json\Z")
_PICKLES = (".pkl", ".pickle")
# a published table has 150 000 networks of about 250 characters
_MAX_BYTES = 256 * 2**20
_TO_JSON = (
    "python -c \"import json, pickle; json.dump(pickle.load(open('{0}.pkl', 'rb')), open('{0}.json', 'w'))\""
)


def read_tables(path: Path, family: SupernetFamily) -> dict[int, Rows]:
    """The integer layouts of each level's networks, by the level's lower end in multiply-adds.

    Args:
        path: a file `levels.json` of stage=cost_levels, or a folder of `flops_<10^6 multiply-adds>.json`.
        family: of the networks.

    Raises:
        UserError: there is no such path, or the family has no published tables.
        DataError: a file is a pickle, malformed, or of another space.
    """
    path = path.expanduser()
    if path.suffix in _PICKLES:
        raise _pickle(path)
    if path.is_dir():
        return _folder(path, family)
    if not path.exists():
        raise UserError(f"There is no table {path}.", "Check sampler.strategy.tables.")
    found = safe.read_json(path, _MAX_BYTES)
    try:
        levels = [(int(level["macs"]), level["rows"]) for level in found["levels"]]
        name = found["space"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a table of levels: {type(error).__name__} {error}.",
            "Write one with stage=cost_levels.",
        ) from error
    if name != family.space.name:
        raise DataError(
            f"{path} has networks of space {name}, not of {family.space.name}.",
            "Write one with stage=cost_levels.",
        )
    return {macs: _layouts(path, family.space, rows) for macs, rows in levels}


def _folder(path: Path, family: SupernetFamily) -> dict[int, Rows]:
    read = getattr(family, "read_network", None)
    if read is None:
        raise UserError(
            f"The networks of {family.name} have no published tables.",
            "Give the file levels/levels.json of a run of stage=cost_levels.",
        )
    files = {int(match[1]): file for file in path.iterdir() if (match := _NAME.match(file.name)) is not None}
    if not files:
        pickles = sorted(file for file in path.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise _pickle(pickles[0])
        raise DataError(
            f"{path} has no file flops_<10^6 multiply-adds>.json.", "Check sampler.strategy.tables."
        )
    found: dict[int, Rows] = {}
    for macs, file in sorted(files.items()):
        networks = safe.read_json(file, _MAX_BYTES)
        if not isinstance(networks, Sequence) or isinstance(networks, str) or not networks:
            raise DataError(
                f"{file} is not a list of networks.", f"Write it again: {_TO_JSON.format(file.stem)}"
            )
        rows: list[tuple[int, ...]] = []
        for number, network in enumerate(networks, start=1):
            try:
                rows.append(read(network).genes)
            except EvoNASError as error:
                raise DataError(f"{file}, network {number}: {error.message}", error.hint) from error
        found[macs * 10**6] = np.array(rows, dtype=np.int8)
    return found


def _layouts(path: Path, space: Space, rows: Any) -> Rows:
    """Rows of integers, or of digits as one text; each a canonical network."""
    try:
        made = np.array([[int(gene) for gene in row] for row in rows], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} has a row that is not a network: {error}.", "Write it again.") from error
    upper = np.array(space.upper)
    is_whole = made.ndim == 2 and made.shape[1] == len(upper) and bool(((made >= 0) & (made <= upper)).all())
    if not is_whole or not (space.canonical_rows(made) == made).all() or not space.are_networks(made).all():
        raise DataError(
            f"{path} has a row that is not a network of space {space.name}.",
            "Write it again with stage=cost_levels and this network.",
        )
    return made.astype(np.int8)


def _pickle(path: Path) -> DataError:
    return DataError(
        f"{path} is a pickle, which can run code when it is read, and is not opened.",
        f"Where it was made, write it as JSON: {_TO_JSON.format(path.stem)}",
    )
