"""Objective `latency_published`: the latency of a subnet by a table that others measured and published.

Such a table has times in ms by names of modules. A family that knows the names of its modules has a method
`latency_keys(genotype, size, classes, as_published)`, and in `latency_classes` the number of classes of its table.
Known are FasterSeg's table (JSON) and that of NSGANetV2 for Once-for-All's MobileNetV3 (`i7-8700K_lut.yaml`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.config import read_yaml
from evonas.data.io.safe import read_arrays
from evonas.errors import DataError, UserError
from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.proxies.scorer import is_size
from evonas.space.genotype import Genotype

VERSION = 1
# of YAML; the published table has 0.5 MB and 20 000 nodes
_MAX_BYTES, _MAX_NODES = 8 * 2**20, 1_000_000
_CONVERT = (
    'Convert it where you trust it, and give the .json: python -c "import json, numpy; '
    "json.dump(numpy.load('{name}', allow_pickle=True).item(), open('{stem}.json', 'w'))\""
)


class PublishedLatency:
    """Sum in ms of the entries of a published table; nothing is timed.

    Args:
        table: a file of times by name: JSON or YAML, whose values may be mappings with the time as `mean`, or .npz with
            an array for each name or the two arrays `keys` and `values`.
        size: height and width of the images of the table in pixels; None for those of the task.
        classes: number of classes of the table's heads; None for those of the family's published table.
        as_published: whether known errors of the publication are repeated.
        name: name of the objective.

    Raises:
        UserError: there is no table, or an argument is invalid.
    """

    unit = "ms"
    part: Part = "shared"

    def __init__(
        self,
        table: str | None = None,
        size: Sequence[int] | None = None,
        classes: int | None = None,
        as_published: bool = True,
        name: str = "latency",
    ) -> None:
        if table is None:
            raise UserError(
                "latency_published has no table.",
                "objective.latency_published.table=<file>, such as latency_lookup_table.json or i7-8700K_lut.yaml",
            )
        if size is not None and not is_size(size):
            raise UserError(
                f"objective.latency_published.size must be height and width in pixels, got {size}.",
                "Try objective.latency_published.size=[1024,2048].",
            )
        self.path, self.name = Path(table), name
        self._size, self._classes, self._as_published = size, classes, as_published

    @cached_property
    def table(self) -> dict[str, float]:
        """The times in ms by name, read on first use."""
        return read_times(self.path)

    def prepare(self, context: EvaluationContext) -> None:
        """Reads the table.

        Raises:
            DataError: the table is damaged.
            UserError: the family does not know the names of its modules, or the table is for other images.
        """
        self._context = context
        if not hasattr(context.family, "latency_keys"):
            raise UserError(
                f"Space {context.space.name} has no published latency table.",
                "Use objective=[error,latency], or [error,latency_lookup].",
            )
        self.measure(context.space.smallest())

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The sum in ms, and the number of its entries.

        Raises:
            UserError: the table lacks an entry.
        """
        keys = list(self._keys(genotype))
        missing = [key for key in keys if key not in self.table]
        if missing:
            raise UserError(
                f"{self.path} has no entry {missing[0]}.",
                "Give the size of the images that it was measured with, as in "
                "objective.latency_published.size=[1024,2048], and its number of classes, or search only the sizes "
                "and widths that it has.",
            )
        total = 0.0
        for key in keys:
            total += self.table[key]
        return total, {f"{self.name}_entries": len(keys)}

    def _keys(self, genotype: Genotype) -> Iterator[str]:
        context = self._context
        height, width = self._size or context.input_size
        family: Any = context.family
        yield from family.latency_keys(
            genotype, (height, width), self._classes_of(context), self._as_published
        )

    def _classes_of(self, context: EvaluationContext) -> int:
        return self._classes or int(getattr(context.family, "latency_classes", 0))

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Digest of the table, size, classes and reading; every identity contains space and network.

        Raises:
            DataError: the table does not exist.
        """
        _require(self.path)
        return {
            "version": VERSION,
            "table": files.sha256(self.path),
            "input_size": list(self._size or context.input_size),
            "classes": self._classes_of(context),
            "as_published": self._as_published,
        }


def read_times(path: Path) -> dict[str, float]:
    """The times of a table in ms by name; no pickle is read.

    Raises:
        DataError: the file is missing, damaged, a pickle, or has an entry that is not a time.
    """
    _require(path)
    found: Any
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        if set(arrays) == {"keys", "values"}:
            found = dict(
                zip(arrays["keys"].ravel().tolist(), arrays["values"].ravel().tolist(), strict=False)
            )
        else:
            found = {name: each.item() if each.size == 1 else None for name, each in arrays.items()}
    elif path.suffix in (".yaml", ".yml"):
        found = read_yaml(path, _MAX_BYTES, _MAX_NODES)
    elif path.suffix == ".json":
        try:
            found = files.read_json(path)
        except (ValueError, OSError) as error:
            raise DataError(f"{path} is not JSON: {error}.", "Write it again.") from error
    else:
        raise DataError(
            f"{path} may be a pickle, which could run code, and is not read.",
            _CONVERT.format(name=path.name, stem=path.stem),
        )
    times = {key: _mean(each) for key, each in found.items()} if isinstance(found, dict) else {}
    wrong = [name for name, time in times.items() if not _is_time(time)]
    if wrong or not times:
        what = f"has no time in ms at {wrong[0]!r}" if wrong else "has no times"
        raise DataError(f"{path} {what}.", "It maps names of modules to milliseconds.")
    return {str(name): float(time) for name, time in times.items()}


def _mean(value: Any) -> Any:
    """The time of an entry, which may stand beside its variance."""
    return value.get("mean") if isinstance(value, dict) else value


def _is_time(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and bool(np.isfinite(value))
        and value >= 0
    )


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"There is no latency table at {path}.", "Check objective.latency_published.table.")
