"""Evaluator of tabular benchmarks: looks up published results. Never imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from evonas.config import build
from evonas.data.nas_bench.base import Table, Words
from evonas.errors import InfeasibleError, UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.base import fingerprint_of
from evonas.space.genotype import Genotype
from evonas.space.space import Bits, Space

VERSION = 1


@dataclass(frozen=True, slots=True)
class Lookup:
    """A column of the table as an objective."""

    name: str
    unit: str
    part: Part = "shared"


class TableEvaluator:
    """Evaluates a genotype by its row in a table.

    The genes of the space, in order, choose the words by which the table identifies an architecture. The config
    needs `_recursive_: false`, since the arguments are configs.

    Args:
        space: config of the space.
        table: config of a function that returns a `Table`.
        objectives: columns, all minimised; the first is the error.

    Raises:
        UserError: objectives is empty, or names a column twice.
    """

    def __init__(
        self, space: Mapping[str, Any], table: Mapping[str, Any], objectives: Sequence[str] = ("error",)
    ) -> None:
        if not objectives or len(set(objectives)) < len(objectives):
            raise UserError(
                f"evaluator.objectives must name distinct columns, got {list(objectives)}.",
                "Try: 'evaluator.objectives=[error,flops]'",
            )
        self._space_config, self._table_config, self._names = space, table, tuple(objectives)

    @cached_property
    def space(self) -> Space:
        """The space.

        Raises:
            UserError: no architecture of the table is in the space.
        """
        built: Space = build(self._space_config)
        columns = zip(*self._stored.rows, strict=True)
        known = [set(words) for words in columns]
        choices = [set(words) for words in choices_of(built)]
        fits = len(known) == len(choices) and all(a & b for a, b in zip(known, choices, strict=True))
        if not fits:
            raise UserError(
                f"Space {built.name} contains no architecture of the table {self._stored.name}.",
                "Use the space of the task; where a task has several, type both, such as space=transnas_macro "
                "data=transnas_macro",
            )
        return built

    @cached_property
    def _stored(self) -> Table:
        built: Table = build(self._table_config)
        return built

    @cached_property
    def table(self) -> Table:
        """The table, read on first use, with rows keyed by canonical words of the space."""
        return aligned(self._stored, self.space)

    @cached_property
    def objectives(self) -> tuple[Lookup, ...]:
        """The columns in order.

        Raises:
            UserError: a column is unknown.
            DataError: a column has no finite value.
        """
        for name in self._names:
            self.table.range(name)
        return tuple(Lookup(name, self.table.units.get(name, "")) for name in self._names)

    @property
    def weights_digest(self) -> str:
        """The sha256 of the table's files, in place of a supernet's weights."""
        return self.table.digest

    @cached_property
    def scale(self) -> dict[str, list[float]]:
        """The minimum (`ideal`) and maximum (`reference`) of each objective over the whole table."""
        ranges = [self.table.range(name) for name in self._names]
        return {"ideal": [least for least, _ in ranges], "reference": [most for _, most in ranges]}

    def setup(self) -> None:
        """Reads the table and checks its columns and the space."""
        _ = self.objectives, self.space

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """The values of the genotype's row.

        Raises:
            ValueError: the table has no row, or rows with different values.
        """
        if part != "shared":
            raise InfeasibleError(f"a table has no objectives of the part {part}")
        words = words_of(self.space, self.space.canonical(genotype))
        return Measurement(self.table.values(words, self._names))

    def identity(self, part: Part) -> dict[str, Any]:
        """Digest of the table's files, settings and columns, as JSON data."""
        return {
            "version": VERSION,
            "part": part,
            "space": dict(self._space_config),
            "table": self.table.name,
            "files": self.table.digest,
            "settings": {key: value for key, value in self._table_config.items() if key != "root"},
            "objectives": list(self._names),
        }

    def fingerprint(self, part: Part) -> str:
        """The sha256 of the identity; values with equal fingerprints may be reused."""
        return fingerprint_of(self.identity(part))


class KnownColumn:
    """A column that is known without evaluation, such as FLOPs.

    It is used in `search.analytic_objectives`, by the name of the objective:
    `search.analytic_objectives.flops={_target_: evonas.objectives.tabular.evaluator.KnownColumn, _recursive_: false,
    table: "${data}", column: flops}`.

    Args:
        table: config of a function that returns a `Table`.
        column: name of the column.
    """

    def __init__(self, table: Mapping[str, Any], column: str) -> None:
        built: Table = build(table)
        self._table, self._name = built, column
        _, self._worst = built.range(column)
        self._aligned: dict[str, Table] = {}

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """The value, or the column's maximum if the table has no row."""
        if space.name not in self._aligned:
            self._aligned[space.name] = aligned(self._table, space)
        try:
            return self._aligned[space.name].values(words_of(space, genotype), (self._name,))[self._name]
        except ValueError:
            return self._worst


def choices_of(space: Space) -> list[tuple[str, ...]]:
    """The words of each position of the integer layout: choices of an axis, 0 and 1 of a bit."""
    return [
        words
        for gene in space.genes
        for words in (
            [("0", "1")] * gene.width if isinstance(gene, Bits) else [tuple(map(str, gene.choices))]
        )
    ]


def words_of(space: Space, genotype: Genotype) -> Words:
    """The words by which a table identifies a genotype, in the order of the integer layout."""
    return tuple(words[gene] for words, gene in zip(choices_of(space), genotype.genes, strict=True))


def aligned(table: Table, space: Space) -> Table:
    """The table with rows keyed by canonical words, so that equal networks share their rows.

    Rows outside the space are kept; no genotype refers to them.
    """
    choices = choices_of(space)
    numbers = [{word: index for index, word in enumerate(words)} for words in choices]
    known = [words for words in table.rows if all(map(dict.__contains__, numbers, words))]
    found = [[each[word] for each, word in zip(numbers, words, strict=True)] for words in known]
    vectors = space.canonical_rows(np.array(found, dtype=np.int64).reshape(len(known), len(choices)))
    rows = {words: table.rows[words] for words in table.rows.keys() - set(known)}
    for words, vector in zip(known, vectors.tolist(), strict=True):
        canonical = tuple(each[index] for each, index in zip(choices, vector, strict=True))
        rows[canonical] = rows.get(canonical, ()) + table.rows[words]
    return replace(table, rows=rows)
