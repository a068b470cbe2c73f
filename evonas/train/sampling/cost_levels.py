"""Cost levels: tables of subnets by number of multiply-adds.

They follow ElasticViT's tables of architectures per FLOPs level (arXiv 2303.09730, section 3). A table is a
function of (space, image size, opening, plan, seed) and is rebuilt wherever it is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genes import Axis
from evonas.space.genotype import Genotype
from evonas.space.space import Opening
from evonas.supernets.base import published
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.level_tables import read_tables

Rows = NDArray[np.int8]
# rows per sampling round, maximum number of rounds, rounds after which an incomplete level is accepted,
# and rounds without a new row after which sampling stops
_ROUND, _ROUNDS, _ENOUGH, _STALE = 16384, 400, 24, 2
# the same for rows that are uniform and rarely in a narrow level
_ENOUGH_UNIFORM = 100
_SHARES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """How the range of costs is divided into levels.

    Args:
        levels: number of levels, spaced evenly in the logarithm between the smallest and the largest subnet,
            or the multiply-adds of each level in 10^6, ascending.
        window: a level F contains the subnets with F to F (1 + window) multiply-adds. None makes contiguous
            evenly spaced levels and drops those that contain no subnet.
        size: maximum number of subnets stored per level.
        groups: number of groups of neighbouring levels. The levels of a group share one smallest subnet, which
            every subnet of these levels contains (on every axis and in the depth of every stage).
        span: a level F contains the subnets with F to F + span, in 10^6, instead of a window.
        least: the smallest subnets of levels, in place of groups: maps a cost U in 10^6 to a text, or to the name of a
            published network of the family. A level has that of the first U whose window reaches its lower end, or else
            of the last.
        spread: whether a random share of each row's genes is at the smallest or the largest choice; otherwise rows are
            uniform over the networks that contain the smallest one.
        tables: tables of other runs or of publications, see `level_tables.read_tables`; levels that are not there are
            sampled.

    Raises:
        UserError: the arguments make no level.
    """

    levels: int | Sequence[float] = 8
    window: float | None = 0.1
    size: int = 512
    groups: int = 3
    span: float | None = None
    least: Mapping[Any, str] | None = None
    spread: bool = True
    tables: str | None = None

    def __post_init__(self) -> None:
        is_count = isinstance(self.levels, int) and not isinstance(self.levels, bool)
        is_list = isinstance(self.levels, Sequence) and not isinstance(self.levels, str)
        if not is_count and not (
            is_list and all(isinstance(each, int | float) and each > 0 for each in self.levels)  # type: ignore[union-attr]
        ):
            raise UserError(
                f"levels must be a number of levels or a list of multiply-adds in 10^6, got {self.levels}.",
                "Try levels=8 or levels=[20,40,80].",
            )
        count = self.levels if isinstance(self.levels, int) else len(self.levels)
        if count < 1 or self.size < 1 or self.groups < 1:
            raise UserError(
                f"levels, size and groups must be at least 1, got levels={self.levels} size={self.size} "
                f"groups={self.groups}.",
                "Try levels=8 size=512 groups=3.",
            )
        if self.window is None and not isinstance(self.levels, int):
            raise UserError("A list of levels needs a window.", "Try window=0.1.")
        if self.window is not None and not 0 < self.window < 10:
            raise UserError(f"window must be in (0, 10), got {self.window}.", "Try window=0.1.")
        if self.span is not None and (self.window is None or not 0 < self.span < float("inf")):
            raise UserError(
                f"span must be above 0 and takes the place of a window, got span={self.span} window={self.window}.",
                "Try span=20, in 10^6 multiply-adds.",
            )
        if self.least is not None:
            _check_least(self.least)
        if not isinstance(self.levels, int) and list(self.levels) != sorted(self.levels):
            raise UserError(f"levels must be ascending, got {list(self.levels)}.", "List the cheapest first.")

    def smallest_of(self, lower_end: float) -> str:
        """The smallest subnet of a level in `least`, for its lower end in 10^6."""
        assert self.least, "a plan with groups has no least networks"
        keys = sorted(self.least, key=float)
        reach = (key for key in keys if self.upper_end(float(key)) >= lower_end)
        return self.least[next(reach, keys[-1])]

    def upper_end(self, lower_end: float, unit: float = 1.0) -> float:
        """The upper end of a level; both in 10^6 / unit."""
        if self.span is not None:
            return lower_end + self.span * unit
        return lower_end * (1 + (self.window or 0))


def _check_least(least: Mapping[Any, str]) -> None:
    def is_number(key: Any) -> bool:
        try:
            return float(key) > 0
        except (TypeError, ValueError):
            return False

    if not isinstance(least, Mapping) or not least or not all(map(is_number, least)):
        raise UserError(
            f"least must map multiply-adds in 10^6 to networks, got {least}.", "Try least={200: smallest}."
        )


@dataclass(frozen=True)
class Level:
    """One cost level.

    Args:
        macs: multiply-adds at its lower end.
        smallest: every subnet of the level contains it, in the depth of every stage and on every axis that both
            express. In a space where some integer layouts encode no network, it represents the level only.
        rows: distinct integer layouts whose cost is within the level's window.
    """

    macs: int
    smallest: Genotype
    rows: Rows

    def genotype(self, index: int) -> Genotype:
        """The subnet of row `index`."""
        return Genotype(self.smallest.space, tuple(int(gene) for gene in self.rows[index]))


class LevelTable:
    """The cost levels of an opening of a space, the cheapest first.

    Rows are random but not uniform: a random share of the genes of each row is set to the smallest or the largest
    choice, because uniform samples concentrate at medium costs and rarely reach the ends.

    Raises:
        UserError: a level with a window contains no subnet.
    """

    def __init__(self, costs: CostTable, opened: Opening, plan: LevelPlan, seed: int) -> None:
        self.costs, self.plan = costs, plan
        space = costs.space
        self._seed, self._opened, self._open = seed, opened, space.narrowed(opened)
        self.low, self.high = (costs.of(end) for end in (space.smallest(opened), space.largest(opened)))
        self._is_gapless = plan.window is None
        self._tables = read_tables(Path(plan.tables), costs.family) if plan.tables else {}
        if plan.window is not None:
            self.window = plan.window
        else:
            assert isinstance(plan.levels, int), "a plan of listed levels has a window"
            self.window = float((self.high / self.low) ** (1 / plan.levels) - 1)
        lower_ends, found = self._lower_ends(), list[Level]()
        for group, floor in self._groups(lower_ends):
            rows = self._rows([lower_ends[index] for index in group], floor, group[0])
            paired = zip(group, rows, strict=True)
            found += [Level(lower_ends[index], floor, part) for index, part in paired if len(part)]
        self.levels = tuple(found)

    def plain(self) -> dict[str, Any]:
        """The table as JSON data; a row is a string of digits if all its genes are below ten, else a list."""
        return {
            "low": self.low,
            "high": self.high,
            **({"window": self.window} if self.plan.span is None else {"span": self.plan.span * 1e6}),
            "levels": [
                {
                    "macs": level.macs,
                    "smallest": self.costs.space.format(level.smallest),
                    "rows": ["".join(map(str, row)) if max(row) < 10 else row for row in level.rows.tolist()],
                }
                for level in self.levels
            ],
        }

    def _lower_ends(self) -> list[int]:
        """The multiply-adds at the lower end of each level; the last window ends at the largest subnet."""
        if isinstance(self.plan.levels, int):
            top = max(self.low, self.high / (1 + self.window))
            # rounded up, or the last window would end below the largest subnet
            ends = np.ceil(np.geomspace(self.low, top, self.plan.levels))
            return sorted({min(int(end), self.high) for end in ends})
        return [round(level * 1e6) for level in self.plan.levels]

    def _groups(self, lower_ends: Sequence[int]) -> Iterator[tuple[list[int], Genotype]]:
        """Yields the indices of neighbouring levels and the smallest subnet that they share."""
        everything = range(len(lower_ends))
        if self.plan.least is None:
            for group in np.array_split(np.array(everything), min(self.plan.groups, len(lower_ends))):
                yield group.tolist(), self._floor(lower_ends[int(group[0])])
            return
        for text, indices in groupby(
            everything, lambda index: self.plan.smallest_of(lower_ends[index] / 1e6)
        ):
            yield list(indices), self._named(text)

    def _named(self, text: str) -> Genotype:
        """The network of a name or a text in `least`."""
        space, known = (
            self.costs.space,
            {name.lower(): net for name, net in published(self.costs.family).items()},
        )
        if text == "smallest":
            return space.smallest(self._opened)
        if (net := known.get(str(text).lower())) is not None:
            return space.parse(net.genotype)
        if ":" in str(text):
            return space.parse(text)
        raise UserError(
            f"{str(text)[:80]!r} in least is not a network of space {space.name}.",
            f"Give the text of one, or: {', '.join(('smallest', *published(self.costs.family)))}.",
        )

    def _floor(self, lower_end: int) -> Genotype:
        """The largest uniformly scaled subnet that costs at most the mean of the smallest subnet and `lower_end`."""
        space = self.costs.space
        scaled = self._networks(np.array([self._scaled(share) for share in _SHARES], dtype=np.int8))
        fitting = scaled[self.costs.macs(scaled) <= (self.low + lower_end) / 2]
        return space.from_vector(fitting[-1]) if len(fitting) else space.smallest(self._opened)

    def _networks(self, rows: Rows) -> Rows:
        """The canonical form of the rows that encode networks."""
        space = self.costs.space
        canonical = space.canonical_rows(rows)
        is_network = space.are_networks(canonical)
        if not self.plan.spread:
            # layouts that only mean a network would make some networks more frequent than others
            is_network &= (canonical == np.where(space.expressed_rows(rows), rows, 0)).all(axis=1)
        kept: Rows = canonical[is_network]
        return kept

    def _scaled(self, share: float) -> list[int]:
        """The layout with every gene at `share` of its open range."""
        vector: list[int] = []
        for gene in self.costs.space.genes:
            if isinstance(gene, Axis):
                choices = self._open.choices[gene.name]
                vector.append(choices[int(share * (len(choices) - 1))])
            else:
                ones = max(gene.minimum, int(share * gene.length))
                vector += self._open.bits.get(gene.name, [1] * ones + [0] * (gene.length - ones))
        return vector

    def _rows(self, lower_ends: Sequence[int], floor: Genotype, first: int) -> list[Rows]:
        """Rows of neighbouring levels from `tables` where they have them, else sampled ones."""
        missing = [end for end in lower_ends if end not in self._tables]
        sampled = dict(zip(missing, self._sampled(missing, floor, first), strict=True)) if missing else {}
        return [sampled[end] if end in sampled else self._given(end, floor) for end in lower_ends]

    def _given(self, lower_end: int, floor: Genotype) -> Rows:
        """The rows of a table that are in a level and in the opening, and contain the level's smallest subnet.

        Raises:
            UserError: there is none.
        """
        rows, space = self._tables[lower_end], self.costs.space
        macs, expressed = self.costs.macs(rows), space.expressed_rows(rows)
        is_inside = (macs >= lower_end) & (macs <= self.upper_end(lower_end))
        for gene in space.genes:
            span = space.spans[gene.name]
            least, own = np.array(floor.genes[span]), rows[:, span]
            if isinstance(gene, Axis):
                is_open = np.isin(own[:, 0], self._open.choices[gene.name]) & (own[:, 0] >= least[0])
                is_inside &= is_open | ~expressed[:, span.start]
            else:
                is_inside &= own.sum(axis=1) >= least.sum()
                if gene.name in self._open.bits:
                    is_inside &= (own == self._open.bits[gene.name]).all(axis=1)
        kept = _distinct(rows[is_inside])
        if not len(kept):
            raise UserError(
                f"{self.plan.tables} has no network of {lower_end / 1e6:.4g} M to "
                f"{self.upper_end(lower_end) / 1e6:.4g} M multiply-adds that contains "
                f"{space.format(floor)}.",
                "Leave tables out, or use those of this network, image size and these levels.",
            )
        return kept

    def _sampled(self, lower_ends: Sequence[int], floor: Genotype, first: int) -> list[Rows]:
        """Rows of neighbouring levels with the common smallest subnet `floor`; the first level has index `first`."""
        width = len(floor.genes)
        found = [np.empty((0, width), dtype=np.int8) for _ in lower_ends]
        counts: list[int] = []
        for number in range(_ROUNDS):
            drawn = self._networks(self._drawn(floor, generator(self._seed, f"levels/{first}", number)))
            macs = self.costs.macs(drawn)
            for index, lower_end in enumerate(lower_ends):
                is_inside = (macs >= lower_end) & (macs <= self.upper_end(lower_end))
                found[index] = _extended(found[index], drawn[is_inside], self.plan.size)
            smallest = min(len(rows) for rows in found)
            counts.append(sum(len(rows) for rows in found))
            # further rounds find nothing new in an exhausted opening
            is_stale = number >= _STALE and counts[-1] == counts[-1 - _STALE]
            is_acceptable = smallest > 0 or self._is_gapless
            is_enough = number >= (_ENOUGH if self.plan.spread else _ENOUGH_UNIFORM)
            if smallest >= self.plan.size or (is_acceptable and (is_stale or is_enough)):
                break
        for lower_end, rows in zip(lower_ends, found, strict=True):
            if not self._is_gapless and not len(rows):
                raise UserError(
                    f"No subnet has about {lower_end / 1e6:.4g} M multiply-adds; the range is "
                    f"{self.low / 1e6:.4g} M to {self.high / 1e6:.4g} M.",
                    "Use fewer levels or a wider window, such as window=0.2.",
                )
        return found

    def upper_end(self, lower_end: int) -> float:
        """The multiply-adds at the upper end of a level; rounding must not exclude the largest subnet."""
        if self.plan.span is not None:
            return self.plan.upper_end(lower_end, 1e6)
        upper = lower_end * (1 + self.window)
        return max(upper, self.high) if self._is_gapless and upper > self.high - 1 else upper

    def _drawn(self, floor: Genotype, rng: np.random.Generator) -> Rows:
        """Random rows of the opening that contain the floor."""
        columns: list[NDArray[np.integer]] = []
        is_up = rng.integers(2, size=(_ROUND, 1)).astype(bool)
        share = rng.random((_ROUND, 1))
        space = self.costs.space
        # in an incomplete space a floor would exclude cheap networks
        lowest = np.array(floor.genes if space.is_complete else space.lower)
        for gene in space.genes:
            least = lowest[space.spans[gene.name]]
            if isinstance(gene, Axis):
                choices = np.array([index for index in self._open.choices[gene.name] if index >= least[0]])
                plain = choices[rng.integers(len(choices), size=(_ROUND, 1))]
                ends = np.where(is_up, choices[-1], choices[0])
                drawn = np.where(rng.random(plain.shape) < share, ends, plain) if self.plan.spread else plain
            else:
                plain = rng.integers(2, size=(_ROUND, gene.length))
                drawn = np.where(rng.random(plain.shape) < share, is_up, plain) if self.plan.spread else plain
                drawn = _at_least(drawn, max(gene.minimum, int(least.sum())), rng)
                if gene.name in self._open.bits:
                    drawn = np.tile(self._open.bits[gene.name], (_ROUND, 1))
            columns.append(drawn)
        return np.concatenate(columns, axis=1).astype(np.int8)


def _at_least(bits: NDArray[np.integer], ones: int, rng: np.random.Generator) -> NDArray[np.integer]:
    """Rows of bits with random bits set until each row has at least `ones`."""
    order = np.argsort(-(bits + rng.random(bits.shape)), axis=1)
    filled = bits.copy()
    np.put_along_axis(filled, order[:, :ones], 1, axis=1)
    return filled


def _extended(rows: Rows, more: Rows, size: int) -> Rows:
    """The distinct rows of both arrays in order of appearance, at most `size`."""
    if len(rows) >= size:
        return rows
    return _distinct(np.concatenate([rows, more]))[:size]


def _distinct(joined: Rows) -> Rows:
    """The distinct rows in order of appearance."""
    # a random linear hash: the collision probability of two rows is 2^-64
    factors = generator(0, "levels/hash").integers(2**64 - 1, size=joined.shape[1], dtype=np.uint64)
    keys = joined.astype(np.uint64) @ factors
    _, first = np.unique(keys, return_index=True)
    kept: Rows = joined[np.sort(first)]
    return kept
