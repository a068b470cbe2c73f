"""Cost levels: tables of subnets by number of multiply-adds.

They follow ElasticViT's tables of architectures per FLOPs level (arXiv 2303.09730, section 3). A table is a
function of (space, image size, opening, plan, seed) and is rebuilt wherever it is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genes import Axis
from evonas.space.genotype import Genotype
from evonas.space.space import Opening
from evonas.supernets.cost_table import CostTable

Rows = NDArray[np.int8]
# rows per sampling round, maximum number of rounds, rounds after which an incomplete level is accepted,
# and rounds without a new row after which sampling stops
_ROUND, _ROUNDS, _ENOUGH, _STALE = 16384, 400, 24, 2
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

    Raises:
        UserError: the arguments make no level.
    """

    levels: int | Sequence[float] = 8
    window: float | None = 0.1
    size: int = 512
    groups: int = 3

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
        if not isinstance(self.levels, int) and list(self.levels) != sorted(self.levels):
            raise UserError(f"levels must be ascending, got {list(self.levels)}.", "List the cheapest first.")


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
        if plan.window is not None:
            self.window = plan.window
        else:
            assert isinstance(plan.levels, int), "a plan of listed levels has a window"
            self.window = float((self.high / self.low) ** (1 / plan.levels) - 1)
        lower_ends, found = self._lower_ends(), list[Level]()
        for group in np.array_split(np.arange(len(lower_ends)), min(plan.groups, len(lower_ends))):
            floor = self._floor(lower_ends[int(group[0])])
            rows = self._sampled([lower_ends[int(index)] for index in group], floor, int(group[0]))
            paired = zip(group, rows, strict=True)
            found += [Level(lower_ends[int(index)], floor, part) for index, part in paired if len(part)]
        self.levels = tuple(found)

    def plain(self) -> dict[str, Any]:
        """The table as JSON data; a row is a string of digits if all its genes are below ten, else a list."""
        return {
            "low": self.low,
            "high": self.high,
            "window": self.window,
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

    def _floor(self, lower_end: int) -> Genotype:
        """The largest uniformly scaled subnet that costs at most the mean of the smallest subnet and `lower_end`."""
        space = self.costs.space
        scaled = self._networks(np.array([self._scaled(share) for share in _SHARES], dtype=np.int8))
        fitting = scaled[self.costs.macs(scaled) <= (self.low + lower_end) / 2]
        return space.from_vector(fitting[-1]) if len(fitting) else space.smallest(self._opened)

    def _networks(self, rows: Rows) -> Rows:
        """The canonical form of the rows that encode networks."""
        canonical = self.costs.space.canonical_rows(rows)
        kept: Rows = canonical[self.costs.space.are_networks(canonical)]
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

    def _sampled(self, lower_ends: Sequence[int], floor: Genotype, first: int) -> list[Rows]:
        """Rows of neighbouring levels with the common smallest subnet `floor`; the first level has index `first`."""
        width = len(floor.genes)
        found = [np.empty((0, width), dtype=np.int8) for _ in lower_ends]
        counts: list[int] = []
        for number in range(_ROUNDS):
            drawn = self._networks(self._drawn(floor, generator(self._seed, f"levels/{first}", number)))
            macs = self.costs.macs(drawn)
            for index, lower_end in enumerate(lower_ends):
                is_inside = (macs >= lower_end) & (macs <= self._upper_end(lower_end))
                found[index] = _extended(found[index], drawn[is_inside], self.plan.size)
            smallest = min(len(rows) for rows in found)
            counts.append(sum(len(rows) for rows in found))
            # further rounds find nothing new in an exhausted opening
            is_stale = number >= _STALE and counts[-1] == counts[-1 - _STALE]
            is_acceptable = smallest > 0 or self._is_gapless
            if smallest >= self.plan.size or (is_acceptable and (is_stale or number >= _ENOUGH)):
                break
        for lower_end, rows in zip(lower_ends, found, strict=True):
            if not self._is_gapless and not len(rows):
                raise UserError(
                    f"No subnet has about {lower_end / 1e6:.4g} M multiply-adds; the range is "
                    f"{self.low / 1e6:.4g} M to {self.high / 1e6:.4g} M.",
                    "Use fewer levels or a wider window, such as window=0.2.",
                )
        return found

    def _upper_end(self, lower_end: int) -> float:
        """The multiply-adds at the upper end of a level; rounding must not exclude the largest subnet."""
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
                drawn = np.where(rng.random(plain.shape) < share, ends, plain)
            else:
                plain = rng.integers(2, size=(_ROUND, gene.length))
                drawn = np.where(rng.random(plain.shape) < share, is_up, plain)
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
    joined = np.concatenate([rows, more])
    # a random linear hash: the collision probability of two rows is 2^-64
    factors = generator(0, "levels/hash").integers(2**64 - 1, size=joined.shape[1], dtype=np.uint64)
    keys = joined.astype(np.uint64) @ factors
    _, first = np.unique(keys, return_index=True)
    kept: Rows = joined[np.sort(first)[:size]]
    return kept
