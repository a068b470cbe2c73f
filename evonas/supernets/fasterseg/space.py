"""The search space of FasterSeg (arXiv 1912.10917), and conversion of its genotypes to architectures.

Two branches run through a grid of layers at strides 8, 16 and 32. A branch is the layers at which it halves its map;
the cells at the other layers keep the stride, and those whose operator is `skip` are left out. Operators of cells that
keep the stride, and widths, belong to a layer at a stride, so that two branches that pass the same layer at the same
stride have the same cell there. Layers count from 0, as in the published matrices.

Genes: `a1` are the layers at which the first branch halves its map (`d4-9`), `b1` that of the second branch; `q1`,
`q2` and so on are the operators of the halving cells, those of the first branch first; `e`, `f` and `g` with the number
of a layer are the operators of the cells at strides 8, 16 and 32; `u`, `v` and `w` are the widths, in twelfths, of what
a layer gives at strides 8, 16 and 32. Layers that no branch can pass have no genes.

Legend: N layouts, V positions of the integer layout.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product

import numpy as np

from evonas.errors import UserError
from evonas.space.genes import Axis, Value
from evonas.space.genotype import Genotype
from evonas.space.opening import Narrowed, Opening
from evonas.space.space import Space

SKIP = "skip"
# by growing multiply-adds; the published numbers of these operators are in `matrices.py`
OPERATORS = ("zoom", "conv", "zoom2", "conv2")
WIDTHS = (4, 6, 8, 10, 12)
# stride of the finest map
STRIDE = 8
# the fewest layers that leave cells behind every halving
_FEWEST_LAYERS = 8
_ROWS, _WIDTH_ROWS = ("e", "f", "g"), ("u", "v", "w")
_GROUPS = {"paths": ("a", "b"), "operator": ("q", *_ROWS), "width": _WIDTH_ROWS}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a branch.

    Args:
        layer: its layer.
        scale: of its input; the stride is 8 * 2**scale.
        is_down: whether it halves the map.
        operator: one of `OPERATORS`.
        width: of its output in twelfths; None for the last cell of a branch, which gives what the head reads.
    """

    layer: int
    scale: int
    is_down: bool
    operator: str
    width: int | None

    @property
    def next_scale(self) -> int:
        """The scale of its output."""
        return self.scale + self.is_down


@dataclass(frozen=True, slots=True)
class Architecture:
    """Two branches.

    Args:
        targets: scale of the last map of each branch: (2, 1) or (2, 0).
        branches: the cells of each branch in order.
    """

    targets: tuple[int, int]
    branches: tuple[tuple[Cell, ...], tuple[Cell, ...]]

    @property
    def shared(self) -> int:
        """How many cells the branches have in common.

        These are the first ones, as long as both branches go on, and stride, operator and width of the outputs are
        equal. The layers of the first branch are theirs.
        """
        first, second = self.branches
        count = 0
        for one, other in zip(first[:-1], second[:-1], strict=False):
            if (one.next_scale, one.operator, one.width) != (other.next_scale, other.operator, other.width):
                break
            count += 1
        return count


def paths_to(target: int, layers: int) -> tuple[tuple[int, ...], ...]:
    """The layers at which a branch to a scale may halve its map.

    Of 16 layers these are 45 pairs to stride 32 and 12 single ones to stride 16. The two halvings of a pair are three
    layers apart or more, the first one is not before layer 2, and the last three layers halve nothing.
    """
    if target == 0:
        return ((),)
    if target == 1:
        return tuple((down,) for down in range(1, layers - 3))
    return tuple((first, second) for second in range(5, layers - 2) for first in range(2, second - 2))


def fewest_cells(target: int, layers: int) -> int:
    """The least number of cells of a branch to a scale."""
    return round(layers / 3) + 2 * target


@dataclass(frozen=True)
class TwoBranchSpace(Space):
    """The space with the genes of the module's docstring; made by `fasterseg_space`.

    A layout is not a network if a branch has too few cells, if nothing is left behind one of its halvings, or if the
    branches would share a cell of different layers, which is a network of other paths. Canonical layouts have index 0
    (`skip`, the first width) at layers that no branch passes, and where the cell with that width is left out.

    Args:
        layers: number of layers.
        targets: scale of the last map of each branch.
        shared: number of cells that the branches have in common; None for any.
    """

    layers: int = 16
    targets: tuple[int, int] = (2, 1)
    shared: int | None = None

    @cached_property
    def columns(self) -> dict[str, int]:
        """The position of each gene in the integer layout."""
        return {name: span.start for name, span in self.spans.items()}

    @cached_property
    def paths(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """The choices of the path of each branch."""
        return tuple(paths_to(target, self.layers) for target in self.targets)

    @cached_property
    def _halving(self) -> tuple[tuple[int, ...], ...]:
        """The positions of the operators of the halving cells of each branch."""
        first, second = self.targets
        numbers = (range(1, first + 1), range(first + 1, first + second + 1))
        return tuple(tuple(self.columns[f"q{at}"] for at in each) for each in numbers)

    def cells(self, genes: Sequence[int], branch: int) -> Iterator[tuple[int, int, bool, int, int | None]]:
        """Yields the cells of a branch: layer, scale, whether it halves, and positions of its operator and its width.

        The position of the width is None at the last layer. Cells that are left out are yielded too.
        """
        columns, downs = self.columns, self.downs(genes, branch)
        scale = 0
        for layer in range(self.layers):
            is_down = layer in downs
            operator = self._halving[branch][scale] if is_down else columns[f"{_ROWS[scale]}{layer}"]
            after = scale + is_down
            width = columns[f"{_WIDTH_ROWS[after]}{layer}"] if layer < self.layers - 1 else None
            yield layer, scale, is_down, operator, width
            scale = after

    def downs(self, genes: Sequence[int], branch: int) -> tuple[int, ...]:
        """The layers at which a branch halves its map."""
        if self.targets[branch] == 0:
            return ()
        return self.paths[branch][genes[self.columns["ab"[branch] + "1"]]]

    def branches(self, genes: Sequence[int]) -> Architecture:
        """The architecture of a layout, whether it is a network or not."""
        branches: list[tuple[Cell, ...]] = []
        for branch in range(2):
            found: list[Cell] = []
            for layer, scale, is_down, operator, width in self.cells(genes, branch):
                word = self._operators[operator][genes[operator]]
                if word != SKIP:
                    # no cell has the width behind the last layer
                    chosen = None if width is None else self._widths[width][genes[width]]
                    found.append(Cell(layer, scale, is_down, word, chosen))
            if found:
                last = found[-1]
                found[-1] = Cell(last.layer, last.scale, last.is_down, last.operator, None)
            branches.append(tuple(found))
        return Architecture(self.targets, (branches[0], branches[1]))

    @cached_property
    def _operators(self) -> dict[int, tuple[str, ...]]:
        return {
            self.columns[axis.name]: tuple(map(str, axis.choices))
            for axis in self.axes
            if axis.name[0] in ("q", *_ROWS)
        }

    @cached_property
    def _widths(self) -> dict[int, tuple[int, ...]]:
        return {
            self.columns[axis.name]: tuple(int(choice) for choice in axis.choices)
            for axis in self.axes
            if axis.name[0] in _WIDTH_ROWS
        }

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) layouts with index 0 at positions that decide nothing."""
        given = np.asarray(rows)
        found = np.zeros_like(given)
        for at, genes in enumerate(given.tolist()):
            used = [self.columns[name] for name in self.columns if name[0] in ("a", "b", "q")]
            for branch in range(2):
                last = None
                for _, _, _, operator, width in self.cells(genes, branch):
                    used.append(operator)
                    if self._operators[operator][genes[operator]] != SKIP:
                        if last is not None:
                            used.append(last)
                        last = width
            found[at, used] = given[at, used]
        return found

    def no_network(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        """Why a canonical layout is not a network, as a message and a hint; None if it is one."""
        of = self.branches(genes)
        for target, branch, downs in zip(
            self.targets, of.branches, (self.downs(genes, at) for at in range(2)), strict=True
        ):
            least, stride = fewest_cells(target, self.layers), STRIDE << target
            if len(branch) < least:
                return (
                    f"The branch to stride {stride} has {len(branch)} cells.",
                    f"It has {least} at least: choose fewer {SKIP}.",
                )
            for start, stop in pairwise((*downs, self.layers)):
                if not any(start < cell.layer < stop for cell in branch):
                    return (
                        f"The branch to stride {stride} has no cell between layers {start} and {stop}.",
                        f"Choose an operator other than {SKIP} for one of them.",
                    )
        shared = of.shared
        if any(
            one.layer != other.layer
            for one, other in zip(*(each[:shared] for each in of.branches), strict=True)
        ):
            return (
                "The branches would share a cell of different layers.",
                "Let them halve their maps at the same layer, or with different operators.",
            )
        if self.shared is not None and shared != self.shared:
            return (
                f"The branches share {shared} cells.",
                f"In space {self.name} they share {self.shared}: let their paths part there.",
            )
        return None

    def size(self) -> int:
        """The exact number of canonical networks, counted once."""
        return self._size

    @cached_property
    def _size(self) -> int:
        operators, widths = (self.cardinalities[self.columns[gene]] for gene in ("q1", "v2"))
        counter = _Counter(self, operators, widths)
        return sum(counter.count(*pair) for pair in product(*self.paths))

    def narrowed(self, opened: Opening | None) -> Narrowed:
        """The open values of each gene; where `skip` alone is opened, so is the first operator.

        No network has nothing but skips, so `operator: min` is the first operator at as many layers as wanted.

        Raises:
            UserError: the opening contains unknown genes or choices.
        """
        found = super().narrowed(opened)
        rows = {axis.name for axis in self.axes if axis.choices[0] == SKIP}
        choices = {
            name: [0, 1] if name in rows and values == [0] else values
            for name, values in found.choices.items()
        }
        return Narrowed(choices, found.bits)

    def _extreme(self, opened: Opening | None, is_largest: bool) -> Genotype:
        """The ends of all genes along the first paths that are a network; the smallest has as few cells as can be."""
        open_ = self.narrowed(opened)
        values = [open_.choices[axis.name] for axis in self.axes]
        rows = [self.columns[axis.name] for axis in self.axes if axis.choices[0] == SKIP]
        ends = [each[-1] if is_largest else each[0] for each in values]
        for at in rows:
            ends[at] = ends[at] or values[at][min(1, len(values[at]) - 1)]
        paths = [each[::-1] if is_largest else each for each in values[: self._number_of_paths]]
        made = ([*some, *ends[self._number_of_paths :]] for some in product(*paths))
        found = next((each for each in made if self._refusal(tuple(each)) is None), None)
        if found is None:
            return self._mended(tuple(ends), open_, np.random.default_rng(0))
        for at in () if is_largest else rows:
            fewer = [*found[:at], 0, *found[at + 1 :]]
            if 0 in values[at] and self._refusal(tuple(fewer)) is None:
                found = fewer
        return self.from_vector(found)

    @property
    def _number_of_paths(self) -> int:
        return sum(target > 0 for target in self.targets)


_States = dict[tuple[int, int, bool, bool, int], int]


class _Counter:
    """Counts the networks of a space along given paths, from the last layer to the first.

    A state is the number of cells of both branches (up to the least that is needed), whether each has a cell behind its
    last halving so far, and how many cells they share. Paths with equal ends are counted together.
    """

    def __init__(self, space: TwoBranchSpace, operators: int, widths: int) -> None:
        self.layers, self.operators, self.widths, self.shared = space.layers, operators, widths, space.shared
        self.least = tuple(fewest_cells(target, space.layers) for target in space.targets)
        self.targets = space.targets
        self._known: dict[tuple[object, ...], _States] = {}

    def count(self, first: tuple[int, ...], second: tuple[int, ...]) -> int:
        """The number of networks whose branches halve their maps at these layers."""
        found = self._count(first, second, 0, 0)
        if second and first[0] != second[0]:
            # one of q and one of the widths would make the branches share their first halving
            start, stop = sorted((first[0], second[0]))
            found -= self._count(first, second, start, stop) // (self.operators * self.widths)
        return found

    def _count(self, first: tuple[int, ...], second: tuple[int, ...], start: int, stop: int) -> int:
        """Without cells at stride 8 in the layers from `start` to before `stop`, halvings aside."""
        parting = first[1] if first[:1] == second else min((*first[:1], *second))
        states = self._from(0, first, second, range(start, stop), parting)
        return sum(
            ways
            for (one, other, _, _, shared), ways in states.items()
            if (one, other) == self.least and shared == (self.shared or 0)
        )

    def _from(
        self, layer: int, first: tuple[int, ...], second: tuple[int, ...], empty: range, parting: int
    ) -> _States:
        """The states of the layers from `layer` on, along the ends of two paths."""
        if layer == self.layers:
            return {(0, 0, False, False, 0): 1}
        key = (
            layer,
            first,
            second,
            range(max(empty.start, layer), max(empty.stop, layer)),
            self.shared is not None and max(parting, layer),
        )
        if key not in self._known:
            later = [tuple(down for down in path if down > layer) for path in (first, second)]
            states = self._from(layer + 1, later[0], later[1], empty, parting)
            self._known[key] = self._before(layer, (first, second), layer in empty, layer < parting, states)
        return self._known[key]

    def _before(
        self, layer: int, ends: tuple[tuple[int, ...], ...], is_empty: bool, is_common: bool, states: _States
    ) -> _States:
        """The states with one layer more; a range of layers may have no cells, and the branches a row in common."""
        downs = [layer in path for path in ends]
        scales = [target - len(path) for target, path in zip(self.targets, ends, strict=True)]
        after = [scale + down for scale, down in zip(scales, downs, strict=True)]
        is_row = not any(downs) and scales[0] == scales[1]
        kinds = [
            (True,) if down else (False,) if is_empty and not scale else (False, True)
            for down, scale in zip(downs, scales, strict=True)
        ]
        # by whether the branches have cells behind their last halving so far: cells kept here, ways, and the flags then
        moves: dict[tuple[bool, bool], list[tuple[bool, bool, int, bool, tuple[bool, bool]]]] = {}
        for flags in ((False, False), (False, True), (True, False), (True, True)):
            moves[flags] = []
            if any(down and not has for down, has in zip(downs, flags, strict=True)):
                continue
            # whether a cell here is followed by others of its branch
            goes_on = [
                has or any(down > layer for down in path) for has, path in zip(flags, ends, strict=True)
            ]
            for kept in product(*kinds):
                if is_row and kept[0] != kept[1]:
                    continue
                rows = 1 if is_row and kept[0] else sum(kept)
                given = {
                    scale for scale, cell, more in zip(after, kept, goes_on, strict=True) if cell and more
                }
                counted = is_row and kept[0] and is_common and all(goes_on)
                now = (not downs[0] and (kept[0] or flags[0]), not downs[1] and (kept[1] or flags[1]))
                ways = self.operators**rows * self.widths ** len(given)
                moves[flags].append((kept[0], kept[1], ways, counted, now))
        found: _States = {}
        one_least, other_least = self.least
        longest = -1 if self.shared is None else self.shared + 1
        for (one, other, is_one, is_other, shared), before in states.items():
            for kept_one, kept_other, ways, counted, now in moves[is_one, is_other]:
                number = before * ways
                parts = [(shared + counted, number)]
                if all(downs):
                    parts = [(shared + 1, number // self.operators), (0, number - number // self.operators)]
                for length, part in parts:
                    state = (
                        min(one_least, one + kept_one),
                        min(other_least, other + kept_other),
                        *now,
                        0 if longest < 0 else min(length, longest),
                    )
                    found[state] = found.get(state, 0) + part
        return found


def fasterseg_space(
    name: str = "fasterseg",
    layers: int = 16,
    branches: Sequence[int] = (32, 16),
    operators: Sequence[str] = OPERATORS,
    widths: Sequence[int] = WIDTHS,
    shared: int | None = None,
) -> TwoBranchSpace:
    """The space of the module's docstring.

    Args:
        name: name of the space.
        layers: number of layers; 16 as published.
        branches: stride of the last map of each branch: (32, 16) or (32, 8).
        operators: of all cells, some of `OPERATORS`: one convolution or two, on the map or on half of it (`zoom`).
        widths: output channels of cells in twelfths of the whole width; a single one is not searched.
        shared: number of cells that both branches have in common (SasWOT: 3); null for any.

    Raises:
        UserError: an argument is invalid.
    """
    if not isinstance(layers, int) or isinstance(layers, bool) or layers < _FEWEST_LAYERS:
        raise UserError(
            f"space.layers must be {_FEWEST_LAYERS} or more, got {layers}.", "Try space.layers=16."
        )
    if list(branches) not in ([32, 16], [32, 8]):
        raise UserError(
            f"space.branches must be [32,16] or [32,8], got {list(branches)}.", "Try space.branches=[32,16]."
        )
    known = [word for word in OPERATORS if word in operators]
    if not known or len(known) < len(operators):
        raise UserError(
            f"space.operators must be some of {', '.join(OPERATORS)}, got {list(operators)}.",
            "Leave space.operators out.",
        )
    if not widths or any(
        isinstance(each, bool) or not 1 <= each <= 12 or int(each) != each for each in widths
    ):
        raise UserError(
            f"space.widths must be twelfths from 1 to 12, got {list(widths)}.",
            "Try space.widths=[4,6,8,10,12].",
        )
    if shared is not None and not 0 <= shared <= fewest_cells(1, layers):
        raise UserError(
            f"space.shared must be from 0 to {fewest_cells(1, layers)} or null, got {shared}.",
            "Try space.shared=3.",
        )
    targets = (2, {16: 1, 8: 0}[branches[1]])
    return TwoBranchSpace(
        name,
        tuple(_genes(layers, targets, known, sorted(map(int, widths)))),
        layers,
        targets,
        shared,
        groups={word: [key for key in keys if key != "b" or targets[1]] for word, keys in _GROUPS.items()},
    )


def _genes(
    layers: int, targets: tuple[int, int], operators: Sequence[str], widths: Sequence[int]
) -> Iterator[Axis]:
    paths = [paths_to(target, layers) for target in targets]
    yield Axis("a1", tuple(path_word(path) for path in paths[0]))
    if targets[1]:
        yield Axis("b1", tuple(path_word(path) for path in paths[1]))
    for at in range(1, sum(targets) + 1):
        yield Axis(f"q{at}", tuple(operators))
    kept: list[set[int]] = [set(), set(), set()]
    given: list[set[int]] = [set(), set(), set()]
    for some in paths:
        for path in some:
            for scale, (start, stop) in enumerate(pairwise((-1, *path, layers))):
                kept[scale] |= set(range(start + 1, stop))
                given[scale] |= set(range(max(start, 0), min(stop, layers - 1)))
    for scale, row in enumerate(_ROWS):
        for layer in sorted(kept[scale]):
            yield Axis(f"{row}{layer}", (SKIP, *operators))
    for scale, row in enumerate(_WIDTH_ROWS):
        for layer in sorted(given[scale]):
            yield Axis(f"{row}{layer}", tuple(widths))


def path_word(downs: Sequence[int]) -> str:
    """The choice of a path in the text form: `d9-14`."""
    return "d" + "-".join(map(str, downs))


def space_of(space: Space) -> TwoBranchSpace:
    """The space itself, if it is one of `fasterseg_space`.

    Raises:
        UserError: it is another one.
    """
    if not isinstance(space, TwoBranchSpace):
        raise UserError(
            f"Space {space.name} is not one of two branches: its genes are {', '.join(space.spans)}.",
            "Leave space= out: a network brings its own. Or choose space=fasterseg.",
        )
    return space


@lru_cache(maxsize=65536)
def architecture(space: TwoBranchSpace, genotype: Genotype) -> Architecture:
    """The architecture of a genotype."""
    space.to_vector(genotype)
    return space.branches(genotype.genes)


def genotype_of(space: TwoBranchSpace, of: Architecture) -> Genotype:
    """The genotype of an architecture.

    Raises:
        UserError: it is not a network of the space.
    """
    values: dict[str, Value] = {axis.name: axis.choices[0] for axis in space.axes}
    number = 0
    for at, branch in enumerate(of.branches):
        if of.targets[at]:
            values["ab"[at] + "1"] = path_word([cell.layer for cell in branch if cell.is_down])
        for cell in branch:
            number += cell.is_down
            gene = f"q{number}" if cell.is_down else f"{_ROWS[cell.scale]}{cell.layer}"
            values[gene] = cell.operator
            if cell.width is not None:
                values[f"{_WIDTH_ROWS[cell.next_scale]}{cell.layer}"] = cell.width
    found = space.encode(values) if of.targets == space.targets else None
    if found is None or space.branches(found.genes) != of:
        raise UserError(
            f"This network is not one of space {space.name}: its branches have different cells at one layer and "
            "stride, or other last strides.",
            "Its costs are those of `cost.py`; a search does not reach it.",
        )
    return found
