"""Space: all points, as data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.space import text
from evonas.space.gene import Axis, Bits, Opening, prefix_of
from evonas.space.genotype import Genotype


@dataclass(frozen=True)
class Space:
    """An ordered list of genes. Two spaces are equal when all their genes are.

    Args:
        name: starts the text form of its genotypes.
        parts: axes and groups of bits, in the order of the integer layout.

    Raises:
        UserError: names repeat, an axis has no choices, or a group cannot reach its minimum.
    """

    name: str
    parts: tuple[Axis | Bits, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            raise UserError(f"Space '{self.name}' names a gene twice: {', '.join(names)}.")
        for part in self.parts:
            if isinstance(part, Axis):
                self._check_axis(part)
            elif not 0 <= part.minimum <= part.length:
                raise UserError(
                    f"Bits {part.name}: minimum {part.minimum} does not fit length {part.length}."
                )

    def _check_axis(self, axis: Axis) -> None:
        if not axis.choices:
            raise UserError(f"Axis {axis.name} of space '{self.name}' has no choices.")
        if axis.expressed_by is not None:
            name, position = axis.expressed_by
            group = next((part for part in self.parts if part.name == name), None)
            if not isinstance(group, Bits) or not 0 <= position < group.length:
                raise UserError(f"Axis {axis.name} is expressed by {name}[{position}], which does not exist.")

    @cached_property
    def slots(self) -> Mapping[str, slice]:
        """Where each part lies in the vector of genes."""
        ends = np.cumsum([part.length for part in self.parts])
        return {
            part.name: slice(int(end) - part.length, int(end))
            for part, end in zip(self.parts, ends, strict=True)
        }

    @property
    def num_genes(self) -> int:
        """Length of the integer layout."""
        return sum(part.length for part in self.parts)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of values of each gene."""
        return tuple(part.cardinality for part in self.parts for _ in range(part.length))

    @property
    def lower(self) -> tuple[int, ...]:
        """Smallest value of each gene."""
        return (0,) * self.num_genes

    @property
    def upper(self) -> tuple[int, ...]:
        """Largest value of each gene."""
        return tuple(cardinality - 1 for cardinality in self.cardinalities)

    @property
    def bit_mask(self) -> tuple[bool, ...]:
        """Which genes are bits."""
        return tuple(isinstance(part, Bits) for part in self.parts for _ in range(part.length))

    def size(self) -> int:
        """The exact number of canonical genotypes."""
        free = prod(part.cardinality for part in self.axes() if part.expressed_by is None)
        return free * prod(self._group_size(group) for group in self.groups())

    def _group_size(self, group: Bits) -> int:
        # ways[k]: patterns with k ones, each weighted by the choices that its ones express
        ways = [1] + [0] * group.length
        for position in range(group.length):
            weight = prod(
                axis.cardinality for axis in self.axes() if axis.expressed_by == (group.name, position)
            )
            ways = [ways[k] + (weight * ways[k - 1] if k else 0) for k in range(group.length + 1)]
        return sum(ways[group.minimum :])

    def axes(self) -> Iterator[Axis]:
        """The ordinal genes."""
        return (part for part in self.parts if isinstance(part, Axis))

    def groups(self) -> Iterator[Bits]:
        """The groups of bits."""
        return (part for part in self.parts if isinstance(part, Bits))

    def from_vector(self, vector: Sequence[int]) -> Genotype:
        """The canonical genotype of an integer layout.

        Raises:
            UserError: wrong length, a gene out of bounds, or too few bits on.
        """
        values = tuple(int(value) for value in vector)
        if len(values) != self.num_genes:
            raise UserError(
                f"A genotype of '{self.name}' has {self.num_genes} genes, this one has {len(values)}."
            )
        for part in self.parts:
            self._check_genes(part, values[self.slots[part.name]])
        return self.canonical(Genotype(self.name, values))

    def _check_genes(self, part: Axis | Bits, values: tuple[int, ...]) -> None:
        for value in values:
            if not 0 <= value < part.cardinality:
                raise UserError(f"Gene {part.name} is {value}; it lies between 0 and {part.cardinality - 1}.")
        if isinstance(part, Bits) and sum(values) < part.minimum:
            raise UserError(f"Bits {part.name} are {values}; at least {part.minimum} must be on.")

    def to_vector(self, genotype: Genotype) -> list[int]:
        """The integer layout of a genotype."""
        return list(genotype.genes)

    def contains(self, genotype: Genotype) -> bool:
        """Whether a genotype is a canonical point of this space."""
        try:
            return genotype.space == self.name and self.from_vector(genotype.genes) == genotype
        except UserError:
            return False

    def canonical(self, genotype: Genotype) -> Genotype:
        """The same network with genes that are not expressed set to their first choice."""
        genes = list(genotype.genes)
        for axis in self.axes():
            if axis.expressed_by is not None:
                name, position = axis.expressed_by
                if not genes[self.slots[name].start + position]:
                    genes[self.slots[axis.name].start] = 0
        return Genotype(self.name, tuple(genes))

    def encode(self, values: Mapping[str, Any]) -> Genotype:
        """The genotype of named values: a choice for each axis, a sequence of 0 and 1 for bits."""
        missing = [part.name for part in self.parts if part.name not in values]
        if missing:
            raise UserError(f"No value for {', '.join(missing)} of space '{self.name}'.")
        vector: list[int] = []
        for part in self.parts:
            value = values[part.name]
            vector += [part.index(value)] if isinstance(part, Axis) else [int(bit) for bit in value]
        return self.from_vector(vector)

    def decode(self, genotype: Genotype) -> dict[str, Any]:
        """Named values: the inverse of `encode`."""
        values: dict[str, Any] = {}
        for part in self.parts:
            genes = genotype.genes[self.slots[part.name]]
            values[part.name] = part.choices[genes[0]] if isinstance(part, Axis) else genes
        return values

    def format(self, genotype: Genotype) -> str:
        """The canonical text form, which `parse` reads back."""
        return text.write(self.name, self.parts, self.decode(self.canonical(genotype)))

    def parse(self, line: str) -> Genotype:
        """The genotype of a text form.

        Raises:
            UserError: names the axis, the value and what is allowed.
        """
        return self.encode(text.read(self.name, self.parts, line))

    def sample(self, rng: np.random.Generator, opened: Opening | None = None) -> Genotype:
        """A random point: choices uniform, bits fair coins, then repaired (spec of EvoNAS, section 1.4).

        Args:
            opened: narrows the space: prefix or name to allowed choices, `"all"` (bits) or `"free"`.

        Raises:
            UserError: the opening names something the space lacks.
        """
        opening = opened or {}
        self._check_opening(opening)
        vector: list[int] = []
        for part in self.parts:
            if isinstance(part, Axis):
                vector.append(int(rng.choice(part.opened(opening))))
            elif part.all_on(opening):
                vector += [1] * part.length
            else:
                vector += [int(bit) for bit in rng.integers(0, 2, part.length)]
        return self.repair(vector, rng)

    def _check_opening(self, opening: Opening) -> None:
        known = {part.name for part in self.parts} | {prefix_of(part.name) for part in self.parts}
        for name in opening:
            if name not in known:
                raise UserError(
                    f"The opening names '{name}', which space '{self.name}' lacks.",
                    f"Known: {', '.join(sorted(known))}.",
                )

    def repair(self, vector: Sequence[int], rng: np.random.Generator) -> Genotype:
        """The nearest valid point: clipped, with random bits switched on where too few are."""
        genes = list(np.clip(np.asarray(vector, dtype=int), self.lower, self.upper))
        for group in self.groups():
            slot = self.slots[group.name]
            while sum(genes[slot]) < group.minimum:
                genes[slot.start + int(rng.integers(group.length))] = 1
        return self.from_vector(genes)

    def smallest(self) -> Genotype:
        """First choices and the least number of bits on."""
        return self._extreme(lambda part: [0] if isinstance(part, Axis) else self._first_bits(part))

    def largest(self) -> Genotype:
        """Last choices and every bit on."""
        return self._extreme(lambda part: [part.cardinality - 1] * part.length)

    @staticmethod
    def _first_bits(group: Bits) -> list[int]:
        return [1] * group.minimum + [0] * (group.length - group.minimum)

    def _extreme(self, genes_of: Any) -> Genotype:
        return self.from_vector([gene for part in self.parts for gene in genes_of(part)])

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """Every distinct point one step away: an adjacent choice, or one bit flipped."""
        found: dict[Genotype, None] = {}
        for position, is_bit in enumerate(self.bit_mask):
            value = genotype.genes[position]
            for other in [1 - value] if is_bit else [value - 1, value + 1]:
                genes = list(genotype.genes)
                genes[position] = other
                if self.contains(candidate := Genotype(self.name, tuple(genes))):
                    found[candidate] = None
        found.pop(genotype, None)
        return list(found)


def declared_space(
    name: str, axes: Mapping[str, Sequence[Any]], bits: Mapping[str, Any] | None = None
) -> Space:
    """A space of the user's own, from YAML.

    Args:
        axes: name to ordered choices, or to `{choices: [...], expressed_by: [bits, position]}`.
        bits: name to length, or to `{length: n, minimum: m}`.

    Example:
        >>> declared_space("toy", {"k1": [3, 5, 7]}, {"d1": 2}).size()
        9
    """
    parts: list[Axis | Bits] = [_axis(key, value) for key, value in axes.items()]
    for key, value in (bits or {}).items():
        parts.append(Bits(key, **value) if isinstance(value, Mapping) else Bits(key, int(value)))
    return Space(name, tuple(parts))


def _axis(name: str, value: Any) -> Axis:
    if not isinstance(value, Mapping):
        return Axis(name, tuple(value))
    group, position = value["expressed_by"]
    return Axis(name, tuple(value["choices"]), (str(group), int(position)))
