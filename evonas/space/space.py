"""Space: every point that may exist, and the ways to name, draw and change points."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.space import text
from evonas.space.genes import Axis, Bits, Gene, prefix_of
from evonas.space.genotype import Genotype
from evonas.space.opening import Opening, choices_of, is_all_on

__all__ = ["Axis", "Bits", "Gene", "Opening", "Space"]


@dataclass(frozen=True)
class Space:
    """An ordered list of decisions; a genotype holds one integer per axis and one per bit.

    Every genotype that a space hands out is canonical: an axis whose bits are off
    (`Axis.expressed_by`) has index 0, so that equal networks are equal genotypes.

    Args:
        name: the first word of the text form.
        genes: axes and bits in the order of the integer layout.

    Raises:
        UserError: for repeated names, a prefix shared by axes and bits, or an
            `expressed_by` that names no bit of this space.
    """

    name: str
    genes: tuple[Gene, ...]

    def __post_init__(self) -> None:
        text.check_name(self.name)
        names = [gene.name for gene in self.genes]
        if not names or len(set(names)) < len(names):
            raise UserError(f"Space {self.name} has no genes or repeats one: {names}.", "Name each once.")
        kinds: dict[str, type] = {}
        for gene in self.genes:
            if kinds.setdefault(prefix_of(gene.name), type(gene)) is not type(gene):
                raise UserError(f"Both axes and bits start like {gene.name}.", "Rename the bits.")
        _ = self._expression

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
    def _expression(self) -> Mapping[int, slice]:
        """Position of a conditional axis -> positions of the bits, one of which must be on."""
        return {
            self.spans[axis.name].start: self._bits_meant(axis)
            for axis in self.axes
            if axis.expressed_by is not None
        }

    def _bits_meant(self, axis: Axis) -> slice:
        name, dot, number = str(axis.expressed_by).partition(".")
        length = {bits.name: bits.length for bits in self.bits}.get(name, 0)
        if length and not dot:
            return self.spans[name]
        if number.isdecimal() and 1 <= int(number) <= length:
            start = self.spans[name].start + int(number) - 1
            return slice(start, start + 1)
        raise UserError(
            f"Axis {axis.name} is expressed by {axis.expressed_by!r}, which is no bit of space {self.name}.",
            "Name bits (d1) or one bit counted from 1 (d1.3).",
        )

    def size(self) -> int:
        """The number of canonical points, exactly."""
        free = prod(len(axis.choices) for axis in self.axes if axis.expressed_by is None)
        return free * prod(self._count(bits) for bits in self.bits)

    def _count(self, bits: Bits) -> int:
        """Settings of one row of bits together with the axes it expresses, counted by ones."""
        whole, single = 1, [1] * bits.length
        span = self.spans[bits.name]
        for axis in self.axes:
            meant = self._expression.get(self.spans[axis.name].start)
            if meant is None or not span.start <= meant.start < span.stop:
                continue
            if axis.expressed_by == bits.name:
                whole *= len(axis.choices)
            else:
                single[meant.start - span.start] *= len(axis.choices)
        ways = [1]
        for choices in single:
            ways = [off + on * choices for off, on in zip([*ways, 0], [0, *ways], strict=True)]
        return sum(count * (whole if ones else 1) for ones, count in enumerate(ways) if ones >= bits.minimum)

    def points(self) -> Iterator[Genotype]:
        """Every canonical point once, lexicographically; only small spaces should be walked to the end."""
        for rows in product(*(gene.settings() for gene in self.genes)):
            genes = tuple(gene for row in rows for gene in row)
            if self._neutral(genes) == genes:
                yield Genotype(self.name, genes)

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
            UserError: for a wrong length, an integer out of bounds or too few bits on.
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
        """The text form, which can be pasted back: `evonet:m=3.5,4,1,3.5/s=.../d=11.0001...`."""
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
        """(N, V) integer layouts in canonical form; a subclass may do many at once."""
        return np.array([self._neutral(tuple(row)) for row in rows.tolist()], dtype=rows.dtype)

    def repair(self, vector: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Genotype:
        """The canonical genotype of a varied vector: rows with too few ones get random ones.

        Raises:
            UserError: for a wrong length or an integer out of bounds, which no repair can mean.
        """
        genes = list(_integers(vector))
        _raise(self._out_of_bounds(tuple(genes)))
        for bits in self.bits:
            span = self.spans[bits.name]
            missing = bits.minimum - sum(genes[span])
            if missing > 0:
                off = [at for at in range(span.start, span.stop) if not genes[at]]
                for at in rng.permutation(off)[:missing].tolist():
                    genes[at] = 1
        return self.from_vector(genes)

    def sample(self, rng: np.random.Generator, opened: Opening | None = None) -> Genotype:
        """A random point: uniform choices, fair coins, then the repair of rows with too few ones.

        This is the rule of EvoNAS's curriculum (its `search_space.py`: sample). It is not
        uniform over points, because repaired rows have exactly the minimum of ones.

        Args:
            rng: where the randomness comes from.
            opened: what is open, `{"s": [48, 64], "d": "all"}`; None opens everything.

        Raises:
            UserError: if the opening names unknown genes or choices.
        """
        vector: list[int] = []
        choices = choices_of(self.genes, opened)
        for gene in self.genes:
            if isinstance(gene, Axis):
                vector.append(choices[gene.name][int(rng.integers(len(choices[gene.name])))])
            elif is_all_on(gene, opened):
                vector += [1] * gene.length
            else:
                vector += rng.integers(2, size=gene.length).tolist()
        return self.repair(vector, rng)

    def smallest(self, opened: Opening | None = None) -> Genotype:
        """The first open choice of every axis and the first `minimum` bits of every row."""
        return self._extreme(opened, is_largest=False)

    def largest(self, opened: Opening | None = None) -> Genotype:
        """The last open choice of every axis and all bits on."""
        return self._extreme(opened, is_largest=True)

    def _extreme(self, opened: Opening | None, is_largest: bool) -> Genotype:
        vector: list[int] = []
        choices = choices_of(self.genes, opened)
        for gene in self.genes:
            if isinstance(gene, Axis):
                vector.append(choices[gene.name][-1 if is_largest else 0])
            else:
                ones = gene.length if is_largest or is_all_on(gene, opened) else gene.minimum
                vector += [1] * ones + [0] * (gene.length - ones)
        return self.from_vector(vector)

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
        if not self._expression:
            return genes
        off = {at for at, meant in self._expression.items() if not any(genes[meant])}
        return tuple(0 if at in off else gene for at, gene in enumerate(genes))

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
        return problem

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
