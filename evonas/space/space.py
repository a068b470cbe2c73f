"""Space: every point that may exist, and the ways to name, draw and change points."""

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

# draws of a sample before the last one is repaired, changes tried of each size by a repair, layouts walked
# in search of an extreme, layouts that `points` looks at together
_DRAWS, _TRIES, _WALK, _CHUNK = 64, 32, 100_000, 1024


@dataclass(frozen=True)
class Space:
    """An ordered list of decisions; a genotype holds one integer per axis and one per bit.

    Every genotype that a space hands out is canonical: an axis that is not expressed
    (`Axis.expressed_by`) has index 0, so that equal networks are equal genotypes.

    A subclass that knows more names for one network overrides `canonical_rows` (and then `size`); one
    whose layouts are not all networks overrides `no_network` (and then `size`).

    Args:
        name: the first word of the text form.
        genes: axes and bits in the order of the integer layout.
        groups: words for genes that an opening names together, `{"kernel": ["k"]}`: names or prefixes,
            kept as pairs of a word and names.

    Raises:
        UserError: for repeated names, a prefix shared by axes and bits, an `expressed_by` that names
            nothing of this space, or unusable groups.
    """

    name: str
    genes: tuple[Gene, ...]
    groups: GivenGroups = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        text.check_name(self.name)
        names = [gene.name for gene in self.genes]
        if not names or len(set(names)) < len(names):
            raise UserError(f"Space {self.name} has no genes or repeats one: {names}.", "Name each once.")
        kinds: dict[str, type] = {}
        for gene in self.genes:
            if kinds.setdefault(prefix_of(gene.name), type(gene)) is not type(gene):
                raise UserError(f"Both axes and bits start like {gene.name}.", "Rename the bits.")
        object.__setattr__(self, "groups", groups_of(self.genes, self.groups))
        _ = self._expression

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the genes of each group."""
        return dict(groups_of(self.genes, self.groups))

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The ordinal decisions, in order."""
        return tuple(gene for gene in self.genes if isinstance(gene, Axis))

    @cached_property
    def bits(self) -> tuple[Bits, ...]:
        """The rows of bits, in order."""
        return tuple(gene for gene in self.genes if isinstance(gene, Bits))

    @cached_property
    def spans(self) -> Mapping[str, slice]:
        """Where each gene lies in the integer layout."""
        starts = np.cumsum([0, *(gene.width for gene in self.genes)]).tolist()
        return {g.name: slice(at, at + g.width) for g, at in zip(self.genes, starts, strict=False)}

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of choices of each position of the layout; 2 for a bit."""
        return tuple(gene.cardinality for gene in self.genes for _ in range(gene.width))

    @cached_property
    def is_bit(self) -> tuple[bool, ...]:
        """Which positions of the layout are bits."""
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
        """Which positions say what runs: the group `depth`, or else bits and the axes that express others."""
        deciding = {each.on for each in self._expression.conditions.values()}
        names = self.members.get("depth", (*(bits.name for bits in self.bits), *deciding))
        return tuple(gene.name in names for gene in self.genes for _ in range(gene.width))

    @cached_property
    def _expression(self) -> Expression:
        return Expression(self.genes)

    @property
    def is_complete(self) -> bool:
        """Whether every layout with enough ones is a network."""
        return type(self).no_network is Space.no_network

    def size(self) -> int:
        """The number of canonical points, exactly."""
        if not self.is_complete:
            return sum(1 for _ in self.points())
        return self._expression.count()

    def points(self) -> Iterator[Genotype]:
        """Every canonical point once, lexicographically; only small spaces should be walked to the end."""
        layouts = self._expression.walk([gene.settings() for gene in self.genes])
        while chunk := list(islice(layouts, _CHUNK)):
            rows = np.array(chunk)
            kept = (self.canonical_rows(rows) == rows).all(axis=1) & self.are_networks(rows)
            yield from (Genotype(self.name, chunk[at]) for at in np.flatnonzero(kept).tolist())

    def encode(self, values: Mapping[str, Any]) -> Genotype:
        """The genotype with these values; the inverse of `decode`.

        Args:
            values: for every gene, a choice or a sequence of 0 and 1.

        Raises:
            UserError: for a missing, unknown or forbidden value.
        """
        odd = sorted(set(values) ^ set(self.spans))
        if odd:
            raise UserError(
                f"{odd[0]} is missing, or no gene of space {self.name}.",
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
            UserError: for a wrong length, an integer out of bounds, too few bits on, or no network.
        """
        genes = _integers(vector)
        self._check(genes)
        return Genotype(self.name, self._neutral(genes))

    def to_vector(self, genotype: Genotype) -> list[int]:
        """The integer layout of a genotype."""
        self._require(genotype)
        return list(genotype.genes)

    def parse(self, line: str) -> Genotype:
        """The genotype that `format` printed.

        Raises:
            UserError: naming the axis, the value and what is allowed.
        """
        return self.encode(text.parse(self.name, self.genes, line))

    def format(self, genotype: Genotype) -> str:
        """The text form, which can be pasted back: `small:m=3.5,4,1,3.5/s=.../d=11.0001...`."""
        return text.write(self.name, self.genes, self.decode(genotype))

    def contains(self, genotype: Genotype) -> bool:
        """Whether the genotype is a canonical point of this space."""
        genes = genotype.genes
        return genotype.space == self.name and self._problem(genes) is None and self._neutral(genes) == genes

    def canonical(self, genotype: Genotype) -> Genotype:
        """The same network with index 0 wherever a gene is not expressed."""
        self._require(genotype)
        return Genotype(self.name, self._neutral(genotype.genes))

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) integer layouts in canonical form; overridden where a network has more names."""
        return self._expression.canonical(np.array(rows))

    def expressed_rows(self, rows: np.ndarray) -> NDArray[np.bool_]:
        """(N, V) whether each position of integer layouts means something."""
        return self._expression.expressed(np.asarray(rows))

    def no_network(self, genes: tuple[int, ...]) -> tuple[str, str] | None:  # noqa: ARG002
        """Why a canonical layout is no network, as a message and a hint; a subclass overrides it."""
        return None

    def are_networks(self, rows: np.ndarray) -> NDArray[np.bool_]:
        """(N,) whether canonical layouts are networks."""
        if self.is_complete:
            return np.ones(len(rows), dtype=bool)
        return np.array([self.no_network(tuple(row)) is None for row in rows.tolist()], dtype=bool)

    def narrowed(self, opened: Opening | None) -> Narrowed:
        """What an opening leaves of each gene.

        Raises:
            UserError: if the opening names unknown genes or choices.
        """
        return narrowed(self.genes, tuple(self.members.items()), opened) if opened else self._everything

    @cached_property
    def _everything(self) -> Narrowed:
        return narrowed(self.genes, (), None)

    def repair(self, vector: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Genotype:
        """The canonical genotype of a varied vector: rows with too few ones get random ones.

        What is no network yet is varied at random, in as few positions as lead to one.

        Raises:
            UserError: for a wrong length or an integer out of bounds, which no repair can mean.
        """
        genes = _integers(vector)
        _raise(self._out_of_bounds(genes))
        return self._mended(self._filled(genes, rng), self.narrowed(None), rng)

    def _filled(self, genes: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
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
        """A network within an opening that differs from a layout in few positions."""
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
        raise UserError(f"What is open of space {self.name} holds no network.", "Open more choices.")

    def _layouts(self, settings: Sequence[Sequence[tuple[int, ...]]]) -> Iterator[tuple[int, ...]]:
        """Every layout made of one setting of each gene, in order."""
        return (tuple(chain.from_iterable(parts)) for parts in product(*settings))

    def sample(self, rng: np.random.Generator, opened: Opening | None = None) -> Genotype:
        """A random point: uniform choices, fair coins, then the repair of rows with too few ones.

        This is the rule of EvoNAS's curriculum (its `search_space.py`: sample). It is not
        uniform over points, because repaired rows have exactly the minimum of ones. What is no network is
        drawn anew.

        Args:
            rng: where the randomness comes from.
            opened: what is open, `{"s": [48, 64], "depth": "max"}`; None opens everything.

        Raises:
            UserError: if the opening names unknown genes or choices, or holds no network.
        """
        open_ = self.narrowed(opened)
        for _ in range(_DRAWS):
            genes = self._filled(self._drawn(open_, rng), rng)
            if self._refusal(genes) is None:
                return self.repair(genes, rng)
        return self._mended(genes, open_, rng)

    def _drawn(self, open_: Narrowed, rng: np.random.Generator) -> list[int]:
        vector: list[int] = []
        for gene in self.genes:
            if isinstance(gene, Axis):
                choices = open_.choices[gene.name]
                vector.append(choices[int(rng.integers(len(choices)))])
            else:
                row = open_.bits.get(gene.name)
                vector += rng.integers(2, size=gene.length).tolist() if row is None else row
        return vector

    def smallest(self, opened: Opening | None = None) -> Genotype:
        """The first open choice of every axis and the first `minimum` bits of every row.

        Where that is no network, the first open layout that is one.
        """
        return self._extreme(opened, is_largest=False)

    def largest(self, opened: Opening | None = None) -> Genotype:
        """The last open choice of every axis and all bits on.

        Where that is no network, the last open layout that is one.
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
        """The points one step away: an adjacent choice of one axis, or one bit flipped."""
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
        self._check(genotype.genes)

    def _check(self, genes: tuple[int, ...]) -> None:
        _raise(self._problem(genes))

    def _problem(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        """Why these integers are no point, as a message and a hint; None if they are one."""
        problem = self._out_of_bounds(genes)
        for bits in self.bits if problem is None else ():
            row = genes[self.spans[bits.name]]
            if sum(row) < bits.minimum:
                return f"{bits.name}={''.join(map(str, row))} has too few ones.", f"It is {bits.allowed()}."
        return self._refusal(genes) if problem is None else problem

    def _refusal(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        """Why allowed integers are no network."""
        return None if self.is_complete else self.no_network(self._neutral(genes))

    def _out_of_bounds(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        counts = self.cardinalities
        if len(genes) != len(counts):
            return f"{len(genes)} integers do not make a point of {self.name}.", f"Give {len(counts)}."
        for at, (gene, count) in enumerate(zip(genes, counts, strict=True)):
            if not 0 <= gene < count:
                return f"Gene {self._name_at(at)} is {gene}.", f"It is an integer from 0 to {count - 1}."
        return None

    def _name_at(self, position: int) -> str:
        """`m1`, or `d3.2` for the second bit of `d3`."""
        for name, span in self.spans.items():
            if span.start <= position < span.stop:
                return f"{name}.{position - span.start + 1}" if self.is_bit[position] else name
        raise AssertionError(f"position {position} is outside of the layout")


def _raise(problem: tuple[str, str] | None) -> None:
    if problem is not None:
        raise UserError(*problem)


def _integers(vector: Sequence[int] | np.ndarray) -> tuple[int, ...]:
    genes = tuple(int(gene) for gene in vector)
    if any(gene != given for gene, given in zip(genes, vector, strict=True)):
        raise UserError(f"A gene of {list(vector)} is not an integer.", "Genes are indices into the choices.")
    return genes
