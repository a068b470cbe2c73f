"""Published results of trained networks, one JSON file per network, in a folder or an archive."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evonas.data.io.safe import read_documents, read_json
from evonas.data.nas_bench.base import Column, Words
from evonas.errors import DataError

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Trained:
    """The content of all files, in an order that does not depend on their names.

    Args:
        words: words of each network.
        columns: one value per network, NaN if unknown.
        digest: sha256 of the contents of all files.
    """

    words: list[Words]
    columns: dict[str, Column]
    digest: str


def read_trained(path: Path, name: str, page: str, read: Callable[[Any], tuple[Words, Numbers]]) -> Trained:
    """Reads all files whose base name matches a pattern, as rows of a table.

    Args:
        path: a folder, or a .zip or .tar.gz archive.
        name: pattern of the base names.
        page: where the files are published, for messages.
        read: maps a parsed file to words and values; its exceptions mean that the file is damaged.

    Raises:
        DataError: there are no such files, or one is damaged.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", f"Set data.root to the folder or archive from {page}.")
    found: list[tuple[str, Words, Numbers]] = []
    for document in read_documents(path, name):
        try:
            words, numbers = read(read_json(document))
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise DataError(
                f"{document} is not a result of {page}: {error!r}.", "Download it again."
            ) from error
        found.append((hashlib.sha256(document.content).hexdigest(), words, numbers))
    if not found:
        raise DataError(f"{path} contains no file whose name matches {name}.", f"Get the data from {page}.")
    found.sort(key=lambda each: each[0])
    digest = hashlib.sha256("".join(each[0] for each in found).encode()).hexdigest()
    names = dict.fromkeys(column for _, _, numbers in found for column in numbers)
    columns = {
        column: np.array([numbers.get(column, np.nan) for _, _, numbers in found], dtype=np.float64)
        for column in names
    }
    return Trained([words for _, words, _ in found], columns, digest)
