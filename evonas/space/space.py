"""Search spaces: encoding, sampling, repair and enumeration of genotypes.

Legend: N layouts, V positions of the integer layout.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.space import text
from evonas.space.expression import Expression
from evonas.space.genes import Axis, Bits, Gene, prefix_of
from evonas.space.genotype import Genotype
from evonas.space.groups import GivenGroups, groups_of
from evonas.space.opening import Narrowed, Opening, narrowed

__all__ = ["Axis", "Bits", "Gene", "Opening", "Space"]

# attempts of a sample before the last one is repaired, attempts of a repair per number of changes, layouts enumerated
# in search of an extreme, layouts that `points` processes at a time
_DRAWS, _TRIES, _WALK, _CHUNK = 64, 32, 100_000, 1024


@dataclass(frozen=True)
class Space:
    """A search space: an ordered list of genes. A genotype has one integer per axis and one per bit.

    All returned genotypes are canonical: an axis that is not expressed (`Axis.expressed_by`) has index 0, so that equal
    networks are equal genotypes.

    A subclass with further equivalent layouts overrides `canonical_rows` and `size`; one with layouts that are no
    networks overrides `no_network` and `size`.

    Args:
        name: name of the space, the first word of the text form.
        genes: axes and bits in the order of the integer layout.
        groups: maps names of groups to names or prefixes of genes, such as `{"kernel": ["k"]}`; stored as pairs.

    Raises:
        UserError: names are repeated, axes and bits share a prefix, `expressed_by` refers to no gene, or groups are
            invalid.
    """

    name: str
    genes: tuple[Gene, ...]
    groups: GivenGroups = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        text.check_name(self.name)
        names = [gene.name for gene in self.genes]
        if not names or len(set(names)) < len(names):
            raise UserError(f"Space {self.name} has no genes or repeats one: {names}.", "Name each once.")
        types: dict[str, type] = {}
        for gene in self.genes:
            if types.setdefault(prefix_of(gene.name), type(gene)) is not type(gene):
                raise UserError(f"Axes and bits share the prefix of {gene.name}.", "Rename the bits.")
        object.__setattr__(self, "groups", groups_of(self.genes, self.groups))
        _ = self._expression

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the genes of each group."""
        return dict(groups_of(self.genes, self.groups))

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The axes, in order."""
        return tuple(gene for gene in self.genes if isinstance(gene, Axis))

    @cached_property
    def bits(self) -> tuple[Bits, ...]:
        """The rows of bits, in order."""
        return tuple(gene for gene in self.genes if isinstance(gene, Bits))

    @cached_property
    def spans(self) -> Mapping[str, slice]:
        """The positions of each gene in the integer layout."""
        starts = np.cumsum([0, *(gene.width for gene in self.genes)]).tolist()
        return {g.name: slice(at, at + g.width) for g, at in zip(self.genes, starts, strict=False)}

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of choices of each position of the layout; 2 for a bit."""
        return tuple(gene.cardinality for gene in self.genes for _ in range(gene.width))

    @cached_property
    def is_bit(self) -> tuple[bool, ...]:
        """Whether each position of the layout is a bit."""
        return tuple(isinstance(gene, Bits) for gene in self.genes for _ in range(gene.width))

    @property
    def lower(self) -> tuple[int, ...]:
        """The smallest integer of each position."""
        return (0,) * len(self.cardinalities)

    @property
    def upper(self) -> tuple[int, ...]:
        """The largest integer of each position, inclusive."""
        return tuple(count - 1 for count in self.cardinalities)

    @cached_property
    def is_depth(self) -> tuple[bool, ...]:
        """Whether each position is a depth gene: the group `depth`, or else bits and axes that express others."""
        deciding = {each.on for each in self._expression.conditions.values()}
        names = self.members.get("depth", (*(bits.name for bits in self.bits), *deciding))
        return tuple(gene.name in names for gene in self.genes for _ in range(gene.width))

    @cached_property
    def _expression(self) -> Expression:
        return Expression(self.genes)

    @property
    def is_complete(self) -> bool:
        """Whether every layout with enough ones is a network, that is, no layout is forbidden."""
        return type(self).no_network is Space.no_network

    def size(self) -> int:
        """The exact number of canonical points."""
        if not self.is_complete:
            return sum(1 for _ in self.points())
        return self._expression.count()

    def points(self) -> Iterator[Genotype]:
        """Yields every canonical point once, in lexicographic order."""
        layouts = self._expression.walk([gene.settings() for gene in self.genes])
        while chunk := list(islice(layouts, _CHUNK)):
            rows = np.array(chunk)
            kept = (self.canonical_rows(rows) == rows).all(axis=1) & self.are_networks(rows)
            yield from (Genotype(self.name, chunk[at]) for at in np.flatnonzero(kept).tolist())

    def encode(self, values: Mapping[str, Any]) -> Genotype:
        """The genotype with these values; the inverse of `decode`.

        Args:
            values: a choice for every axis, and a sequence of 0 and 1 for every row of bits.

        Raises:
            UserError: a value is missing, unknown or forbidden.
        """
        wrong = sorted(set(values) ^ set(self.spans))
        if wrong:
            raise UserError(
                f"{wrong[0]} is missing, or is not a gene of space {self.name}.",
                f"Give exactly: {', '.join(self.spans)}.",
            )
        return self.from_vector([index for gene in self.genes for index in gene.indices(values[gene.name])])

    def decode(self, genotype: Genotype) -> dict[str, Any]:
        """The chosen value of every axis and a tuple of booleans for every row of bits."""
        self._require(genotype)
        return {gene.name: gene.value(genotype.genes[self.spans[gene.name]]) for gene in self.genes}

    def from_vector(self, vector: Sequence[int] | np.ndarray) -> Genotype:
        """The canonical genotype of an integer layout, such as the paper's 28 integers.

        Raises:
            UserError: the length is wrong, an integer is out of bounds, a row has too few ones, or the layout is
                forbidden.
        """
        genes = _integers(vector)
        _raise(self._problem(genes))
        return Genotype(self.name, self._neutral(genes))

    def to_vector(self, genotype: Genotype) -> list[int]:
        """The integer layout of a genotype."""
        self._require(genotype)
        return list(genotype.genes)

    def parse(self, line: str) -> Genotype:
        """The genotype of a text form; the inverse of `format`.

        Raises:
            UserError: the text is malformed; the message names gene, value and allowed values.
        """
        return self.encode(text.parse(self.name, self.genes, line))

    def format(self, genotype: Genotype) -> str:
        """The text form, such as `small:m=3.5,4,1,3.5/s=.../d=11.0001...`."""
        return text.write(self.name, self.genes, self.decode(genotype))

    def contains(self, genotype: Genotype) -> bool:
        """Whether the genotype is a canonical point of this space."""
        genes = genotype.genes
        return genotype.space == self.name and self._problem(genes) is None and self._neutral(genes) == genes

    def canonical(self, genotype: Genotype) -> Genotype:
        """The canonical genotype of the same network."""
        self._require(genotype)
        return Genotype(self.name, self._neutral(genotype.genes))

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) integer layouts in canonical form."""
        return self._expression.canonical(np.array(rows))

    def expressed_rows(self, rows: np.ndarray) -> NDArray[np.bool_]:
        """(N, V) whether each position of integer layouts is expressed."""
        return self._expression.expressed(np.asarray(rows))

    def no_network(self, genes: tuple[int, ...]) -> tuple[str, str] | None:  # noqa: ARG002
        """Why a canonical layout is forbidden, as a message and a hint; None if it is a network."""
        return None

    def are_networks(self, rows: np.ndarray) -> NDArray[np.bool_]:
        """(N,) whether canonical layouts are networks."""
        if self.is_complete:
            return np.ones(len(rows), dtype=bool)
        return np.array([self.no_network(tuple(row)) is None for row in rows.tolist()], dtype=bool)

    def narrowed(self, opened: Opening | None) -> Narrowed:
        """The open values of each gene.

        Raises:
            UserError: the opening contains unknown genes or choices.
        """
        return narrowed(self.genes, tuple(self.members.items()), opened) if opened else self._everything

    @cached_property
    def _everything(self) -> Narrowed:
        """The opening without restrictions, cached."""
        return narrowed(self.genes, (), None)

    def repair(self, vector: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Genotype:
        """The canonical genotype of a vector; rows with too few ones get random ones.

        A forbidden layout is changed at random, in as few positions as lead to a network.

        Raises:
            UserError: the length is wrong, or an integer is out of bounds.
        """
        genes = _integers(vector)
        _raise(self._out_of_bounds(genes))
        return self._mended(self._filled(genes, rng), self.narrowed(None), rng)

    def _filled(self, genes: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """A layout with random ones added to rows with too few."""
        filled = list(genes)
        for bits in self.bits:
            span = self.spans[bits.name]
            missing = bits.minimum - sum(filled[span])
            if missing > 0:
                off = [at for at in range(span.start, span.stop) if not filled[at]]
                for at in rng.permutation(off)[:missing].tolist():
                    filled[at] = 1
        return tuple(filled)

    def _mended(self, genes: tuple[int, ...], open_: Narrowed, rng: np.random.Generator) -> Genotype:
        """The network of a layout, or one within an opening that differs from it in few positions."""
        if self._refusal(genes) is None:
            return self.from_vector(genes)
        values = [each for gene in self.genes for each in open_.values(gene)]
        loose = [at for at, each in enumerate(values) if len(each) > 1]
        for changes in (count for count in range(1, len(loose) + 1) for _ in range(_TRIES)):
            varied = list(genes)
            for at in rng.choice(loose, size=changes, replace=False).tolist():
                varied[at] = values[at][int(rng.integers(len(values[at])))]
            filled = self._filled(varied, rng)
            if self._refusal(filled) is None:
                return self.from_vector(filled)
        return self._first([open_.settings(gene) for gene in self.genes])

    def _first(self, settings: Sequence[Sequence[tuple[int, ...]]]) -> Genotype:
        """The first network in the order of settings."""
        for genes in islice(self._layouts(settings), _WALK):
            if self._refusal(genes) is None:
                return self.from_vector(genes)
        raise UserError(f"The opening of space {self.name} contains no network.", "Open more choices.")

    def _layouts(self, settings: Sequence[Sequence[tuple[int, ...]]]) -> Iterator[tuple[int, ...]]:
        """Yields every layout of one setting per gene, in order."""
        return (tuple(chain.from_iterable(parts)) for parts in product(*settings))

    def sample(self, rng: np.random.Generator, opened: Opening | None = None) -> Genotype:
        """A random point: uniform choices and bits, then repair of rows with too few ones.

        This is the sampling of EvoNAS's curriculum (`sample` in its `search_space.py`). It is not uniform over points,
        since repaired rows have exactly the minimum number of ones. Forbidden layouts are resampled.

        Args:
            rng: random generator.
            opened: the opening, such as `{"s": [48, 64], "depth": "max"}`; None opens everything.

        Raises:
            UserError: the opening contains unknown genes or choices, or no network.
        """
        open_ = self.narrowed(opened)
        for _ in range(_DRAWS):
            vector: list[int] = []
            for gene in self.genes:
                if isinstance(gene, Axis):
                    choices = open_.choices[gene.name]
                    vector.append(choices[int(rng.integers(len(choices)))])
                else:
                    row = open_.bits.get(gene.name)
                    vector += rng.integers(2, size=gene.length).tolist() if row is None else row
            genes = self._filled(vector, rng)
            if self._refusal(genes) is None:
                return self.repair(genes, rng)
        return self._mended(genes, open_, rng)

    def smallest(self, opened: Opening | None = None) -> Genotype:
        """The first open choice of every axis and the first `minimum` bits of every row.

        If this layout is forbidden, the first open layout that is a network.
        """
        return self._extreme(opened, is_largest=False)

    def largest(self, opened: Opening | None = None) -> Genotype:
        """The last open choice of every axis and all bits on.

        If this layout is forbidden, the last open layout that is a network.
        """
        return self._extreme(opened, is_largest=True)

    def _extreme(self, opened: Opening | None, is_largest: bool) -> Genotype:
        vector: list[int] = []
        open_ = self.narrowed(opened)
        for gene in self.genes:
            if isinstance(gene, Axis):
                vector.append(open_.choices[gene.name][-1 if is_largest else 0])
            else:
                ones = gene.length if is_largest else gene.minimum
                vector += open_.bits.get(gene.name, [1] * ones + [0] * (gene.length - ones))
        if self._refusal(tuple(vector)) is None:
            return self.from_vector(vector)
        return self._first([open_.settings(gene)[:: -1 if is_largest else 1] for gene in self.genes])

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """The points at distance one: an adjacent choice of one axis, or one flipped bit."""
        self._require(genotype)
        found: dict[Genotype, None] = {}
        for at, gene in enumerate(genotype.genes):
            for changed in (gene - 1, gene + 1):
                genes = (*genotype.genes[:at], changed, *genotype.genes[at + 1 :])
                if self._problem(genes) is None:
                    found[Genotype(self.name, self._neutral(genes))] = None
        found.pop(genotype, None)
        return list(found)

    def _neutral(self, genes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.canonical_rows(np.array([genes]))[0].tolist())

    def _require(self, genotype: Genotype) -> None:
        if genotype.space != self.name:
            raise UserError(
                f"A genotype of space {genotype.space} was given to {self.name}.", "Use its space."
            )
        _raise(self._problem(genotype.genes))

    def _problem(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        """Why a layout is invalid, as a message and a hint; None if it is valid."""
        problem = self._out_of_bounds(genes)
        for bits in self.bits if problem is None else ():
            row = genes[self.spans[bits.name]]
            if sum(row) < bits.minimum:
                return f"{bits.name}={''.join(map(str, row))} has too few ones.", f"It is {bits.allowed()}."
        return self._refusal(genes) if problem is None else problem

    def _refusal(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        """Why a layout within bounds is forbidden; None if it is a network."""
        return None if self.is_complete else self.no_network(self._neutral(genes))

    def _out_of_bounds(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        counts = self.cardinalities
        if len(genes) != len(counts):
            return f"{len(genes)} integers do not make a point of {self.name}.", f"Give {len(counts)}."
        for at, (gene, count) in enumerate(zip(genes, counts, strict=True)):
            if not 0 <= gene < count:
                name, start = next((n, s.start) for n, s in self.spans.items() if s.start <= at < s.stop)
                shown = f"{name}.{at - start + 1}" if self.is_bit[at] else name
                return f"Gene {shown} is {gene}.", f"It is an integer from 0 to {count - 1}."
        return None


def _raise(problem: tuple[str, str] | None) -> None:
    if problem is not None:
        raise UserError(*problem)


def _integers(vector: Sequence[int] | np.ndarray) -> tuple[int, ...]:
    genes = tuple(int(gene) for gene in vector)
    if any(gene != given for gene, given in zip(genes, vector, strict=True)):
        raise UserError(f"A gene of {list(vector)} is not an integer.", "Genes are indices into the choices.")
    return genes
