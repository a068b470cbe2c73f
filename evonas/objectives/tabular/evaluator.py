"""The evaluator of a tabular benchmark: it looks up what others measured. Never imports torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from evonas.config import build
from evonas.data.nas_bench.base import Table, Words
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.space.genotype import Genotype
from evonas.space.space import Bits, Space

VERSION = 1


@dataclass(frozen=True, slots=True)
class Lookup:
    """One column of the table as an objective of the search."""

    name: str
    unit: str
    part: Part = "shared"


class TableEvaluator:
    """Measures a genotype by finding its row; what the table does not know is a failure with its reason.

    The genes of the space, in their order, choose the words by which the table names an architecture. Build
    it with `_recursive_: false`, because its arguments are configs.

    Args:
        space: config of the space.
        table: config of a function that returns a `Table`.
        objectives: columns, all minimised; the first is the error.
    """

    def __init__(
        self, space: Mapping[str, Any], table: Mapping[str, Any], objectives: Sequence[str] = ("error",)
    ) -> None:
        if not objectives or len(set(objectives)) < len(objectives):
            raise UserError(
                f"evaluator.objectives={list(objectives)} names no column, or one twice.",
                "Try: 'evaluator.objectives=[error,flops]'",
            )
        self._space_config, self._table_config, self._names = space, table, tuple(objectives)

    @cached_property
    def space(self) -> Space:
        """The space, whose words the table must know.

        Raises:
            UserError: not one architecture of the table is a point of the space.
        """
        built: Space = build(self._space_config)
        columns = zip(*self._stored.rows, strict=True)
        known = [set(words) for words in columns]
        choices = [set(words) for words in choices_of(built)]
        fits = len(known) == len(choices) and all(a & b for a, b in zip(known, choices, strict=True))
        if not fits:
            raise UserError(
                f"Space {built.name} does not describe the architectures of the table {self._stored.name}.",
                "Leave space as the task sets it.",
            )
        return built

    @cached_property
    def _stored(self) -> Table:
        built: Table = build(self._table_config)
        return built

    @cached_property
    def table(self) -> Table:
        """The table, read at first use, with its rows under the canonical words of the space."""
        return aligned(self._stored, self.space)

    @cached_property
    def objectives(self) -> tuple[Lookup, ...]:
        """The columns in order; an unknown one is a UserError that lists the known ones."""
        return tuple(Lookup(name, self._unit(name)) for name in self._names)

    @property
    def weights_digest(self) -> str:
        """The sha256 of the table's files, which stand where a search has its supernet's weights."""
        return self.table.digest

    @cached_property
    def scale(self) -> dict[str, list[float]]:
        """The least (`ideal`) and largest (`reference`) number of each objective in the whole table."""
        columns = [self.table.column(name) for name in self._names]
        return {
            "ideal": [float(np.nanmin(column)) for column in columns],
            "reference": [float(np.nanmax(column)) for column in columns],
        }

    def setup(self) -> None:
        """Read the table, and see that it has the columns and fits the space."""
        _ = self.objectives, self.space

    def measure(self, genotype: str, part: Part) -> Measurement:
        """The row's numbers; ValueError where the table has none, or several that differ."""
        if part != "shared":
            raise ValueError(f"a table has nothing to measure for the part {part}")
        words = words_of(self.space, self.space.parse(genotype))
        return Measurement(self.table.values(words, self._names))

    def identity(self, part: Part) -> dict[str, Any]:
        """The table's files, the data set and the columns, as plain JSON data."""
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
        """The sha256 of the identity: facts may be shared where it is equal."""
        text = json.dumps(self.identity(part), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _unit(self, name: str) -> str:
        self.table.column(name)
        return self.table.units.get(name, "")


class KnownColumn:
    """A column that a searcher may know without measuring, such as FLOPs, which are counted and not trained.

    For `search.cheap`, by the name of the objective:
    `search.cheap.flops={_target_: evonas.objectives.tabular.evaluator.KnownColumn, _recursive_: false,
    table: "${data}", column: flops}`.

    Args:
        table: config of a function that returns a `Table`.
        column: its name.
    """

    def __init__(self, table: Mapping[str, Any], column: str) -> None:
        built: Table = build(table)
        self._table, self._name = built, column
        self._worst = float(np.nanmax(built.column(column)))
        self._aligned: dict[str, Table] = {}

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """The number, or the column's worst where the table has none."""
        if space.name not in self._aligned:
            self._aligned[space.name] = aligned(self._table, space)
        try:
            return self._aligned[space.name].values(words_of(space, genotype), (self._name,))[self._name]
        except ValueError:
            return self._worst


def choices_of(space: Space) -> list[tuple[str, ...]]:
    """The words that each position of the integer layout may hold: choices of an axis, 0 and 1 of a bit."""
    return [
        words
        for gene in space.genes
        for words in (
            [("0", "1")] * gene.width if isinstance(gene, Bits) else [tuple(map(str, gene.choices))]
        )
    ]


def words_of(space: Space, genotype: Genotype) -> Words:
    """The words by which a table names a point, in the order of the integer layout."""
    return tuple(words[gene] for words, gene in zip(choices_of(space), genotype.genes, strict=True))


def aligned(table: Table, space: Space) -> Table:
    """The table with its rows under canonical words, so that networks that are equal share their rows.

    Rows whose words the space does not have stay as they are; no point asks for them.
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
