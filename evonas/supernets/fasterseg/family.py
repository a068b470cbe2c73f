"""FasterSeg as a supernet family: every cell with every operator, in two branches, at elastic widths.

Cells have weights of their own for each branch, layer, stride and operator, and give their first channels to narrower
subnets. Cells that both branches have in common are those of the first branch.
"""

from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Bar, Cost, Cut, Cuts, Derived, DrawnStage, PublishedNetwork, Settings
from evonas.supernets.fasterseg.cost import (
    COMMON,
    END,
    FIRST,
    SECOND,
    STEM,
    CellShape,
    NetworkShape,
    description,
    head_cost,
    input_size,
    joined,
    path,
    price,
    shapes,
)
from evonas.supernets.fasterseg.latency_keys import latency_keys
from evonas.supernets.fasterseg.matrices import decode
from evonas.supernets.fasterseg.published import PUBLISHED
from evonas.supernets.fasterseg.space import (
    OPERATORS,
    SKIP,
    STRIDE,
    Cell,
    architecture,
    genotype_of,
    space_of,
)
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.fasterseg.backbone import FasterSegBackbone

# random networks in which steps are looked for
_TEMPLATES = 40
_STYLES = {"zoom": "s0", "conv": "s1", "zoom2": "s0", "conv2": "s2"}


class FasterSeg:
    """The family of a space.

    Args:
        space: a space of `fasterseg_space`.
        base: channels of the whole width at stride 1; a map of stride s and w twelfths has s * base * w / 12.
        stem_width: width of the stem in twelfths; published are 8 and, for the teacher, 12.
        head_width: width of what the branches give, in twelfths.
        bn_momentum: momentum of the batch norms.

    Raises:
        UserError: the space has another layout, or an argument is invalid.
    """

    name = "fasterseg"

    def __init__(
        self, space: Space, base: int = 12, stem_width: int = 8, head_width: int = 8, bn_momentum: float = 0.1
    ) -> None:
        self.space = space_of(space)
        if isinstance(base, bool) or not isinstance(base, int) or base < 1:
            raise UserError(f"network.base must be an integer from 1, got {base}.", "Try network.base=12.")
        for key, width in (("stem_width", stem_width), ("head_width", head_width)):
            if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 12:
                raise UserError(
                    f"network.{key} must be twelfths from 1 to 12, got {width}.", f"Try network.{key}=8."
                )
        widest = max(
            int(choice) for axis in self.space.axes if axis.name[0] == "v" for choice in axis.choices
        )
        self.shape = NetworkShape(self.space.layers, self.space.targets, base, stem_width, head_width, widest)
        self.momentum = bn_momentum

    @property
    def levels(self) -> tuple[Level, ...]:
        """The joined branches at stride 8, and maps at strides 16 and 32 for auxiliary heads."""
        return self.shape.levels

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """All places; whether a cell is there, shared, and how wide its input is, depends on all layers before it."""
        genes = tuple(self.space.spans)
        layers = self.shape.layers
        cells = [(place, layer) for place in (COMMON, FIRST, SECOND) for layer in range(layers)]
        ends = [(FIRST, layers), (SECOND, layers)]
        return {(STEM, 0): (), **dict.fromkeys(sorted((*cells, *ends)), genes), (END, 0): ()}

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(architecture(self.space, genotype), self.shape)

    def price(self, step: Step, size: Size) -> Cost:
        return price(step, self.shape, size)

    def head_cost(self, genotype: Genotype, size: Size, classes: int) -> Cost:  # noqa: ARG002
        """The cost of the published head (`head=fcn`, without auxiliary heads), as of `base.classifier_cost`."""
        return head_cost(self.shape.fused, classes, input_size(size), STRIDE)

    @cached_property
    def published(self) -> Mapping[str, PublishedNetwork]:
        """FasterSeg and its teacher by name, if the space has them."""
        found: dict[str, PublishedNetwork] = {}
        for name, net in PUBLISHED.items():
            with suppress(UserError):
                genotype = self.space.format(genotype_of(self.space, net.architecture))
                settings = {"base": 12, "stem_width": net.width, "head_width": net.width}
                found[name] = PublishedNetwork(genotype, settings, 19)
        return found

    # those of the published table
    latency_classes = 19

    def latency_keys(self, genotype: Genotype, size: Size, classes: int, as_published: bool) -> Iterator[str]:
        """The names of the genotype's entries in FasterSeg's latency table; see `latency_keys.py`."""
        return latency_keys(architecture(self.space, genotype), self.shape, size, classes, as_published)

    def read_network(self, values: Mapping[str, Any]) -> PublishedNetwork:
        """The network of FasterSeg's matrices (`matrices.py`), as arrays and numbers by name.

        Raises:
            DataError: a matrix is missing or of another shape.
            UserError: the network is not one of the space.
        """
        found = decode(values)
        width = 12 if found.is_teacher else 8
        genotype = self.space.format(genotype_of(self.space, found.architecture))
        return PublishedNetwork(genotype, {"base": 12, "stem_width": width, "head_width": width})

    def input_size(self, genotype: Genotype, size: Size) -> Size:  # noqa: ARG002
        return input_size(size)

    def features(self, genotype: Genotype) -> list[float]:
        """For every stride and operator the number of cells and the sum of input times output channels; joined maps."""
        found = {(scale, word): [0.0, 0.0] for scale in range(3) for word in OPERATORS}
        for step in self.path(genotype):
            if len(step.choice) == 5:
                word, scale, _, given, out = step.choice
                sums = found[int(scale), str(word)]
                sums[0] += 1
                sums[1] += int(given) * int(out)
        of = architecture(self.space, genotype)
        maps = [float(each) for branch in range(2) for each in joined(of, self.shape, branch)]
        return [1.0, *(each for sums in found.values() for each in sums), *maps]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return description(architecture(self.space, genotype), self.shape)

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """A stage for each stride; at each layer a bar for every branch that has a cell there, or one for both."""
        of = architecture(self.space, genotype)
        rows: list[list[list[Bar]]] = [[[] for _ in range(self.shape.layers)] for _ in range(3)]
        for branch, letter in enumerate("ab"):
            for at, (cell, each) in enumerate(
                zip(of.branches[branch], shapes(of, self.shape, branch), strict=True)
            ):
                if branch and at < of.shared:
                    continue
                who = "ab" if at < of.shared else letter
                bar = Bar(
                    _STYLES[cell.operator],
                    f"{who} {cell.operator}{' down' if cell.is_down else ''}",
                    each.out,
                )
                rows[cell.scale][cell.layer].append(bar)
        stages: list[DrawnStage] = []
        for scale, row in enumerate(rows):
            blocks = tuple(tuple(bars) or None for bars in row)
            width = self.shape.at(scale, self.shape.widest)
            stages.append(DrawnStage(width, (f"stride {STRIDE << scale}", f"{width} ch at most"), blocks))
        return tuple(stages)

    def build(self, genotype: Genotype | None, seed: int | None) -> "FasterSegBackbone":
        from evonas.supernets.fasterseg.backbone import FasterSegBackbone, static_backbone

        if genotype is not None:
            return static_backbone(architecture(self.space, genotype), self.shape, self.momentum, seed)
        of = architecture(self.space, self.space.largest())
        return FasterSegBackbone(
            path(of, self.shape),
            self.shape,
            self._cells.items(),
            self._joins,
            partial(description, of, self.shape),
            self.momentum,
            seed,
        )

    @cached_property
    def _joins(self) -> list[list[int]]:
        """The greatest number of channels of the finer maps that each branch is joined with."""
        return [[self._given(scale) for scale in range(target)] for target in self.shape.targets]

    def _given(self, scale: int) -> int:
        """The greatest number of input channels of a cell."""
        widest = self.shape.at(scale, self.shape.widest)
        return widest if scale else max(widest, self.shape.stem[-1])

    @cached_property
    def _cells(self) -> Mapping[str, CellShape]:
        """The shapes of all cells of the supernet by name of their module."""
        from evonas.supernets.fasterseg.backbone import cell_name

        operators = self.space.axes[self.space.columns["q1"]].choices
        found: dict[str, CellShape] = {}
        for branch, target in enumerate(self.shape.targets):
            places = set[tuple[int, int, bool]]()
            for downs in self.space.paths[branch]:
                for scale, (start, stop) in enumerate(pairwise((-1, *downs, self.shape.layers))):
                    places |= {(layer, scale, False) for layer in range(start + 1, stop)}
                    if stop < self.shape.layers:
                        places.add((stop, scale, True))
            for (layer, scale, is_down), word in product(sorted(places), operators):
                cell = Cell(layer, scale, is_down, str(word), None)
                out = self.shape.at(cell.next_scale, self.shape.widest)
                if not is_down and scale == target:
                    # it may be the last one of its branch
                    out = max(out, self.shape.at(scale, self.shape.head_width))
                shape = CellShape(cell.operator, scale, is_down, self._given(scale), out)
                found[cell_name(branch, cell)] = shape
        return found

    def _own(self, genotype: Genotype) -> Iterator[tuple[str, CellShape]]:
        """Yields names and shapes of a subnet's cells."""
        from evonas.supernets.fasterseg.backbone import cell_name

        of = architecture(self.space, genotype)
        for branch in range(2):
            found = list(zip(of.branches[branch], shapes(of, self.shape, branch), strict=True))
            for cell, each in found[of.shared if branch else 0 :]:
                yield cell_name(branch, cell), each

    def cuts(self, genotype: Genotype) -> Cuts:
        found: dict[str, tuple[Cut, ...] | Derived] = {}
        for name, own in self._own(genotype):
            whole = self._cells[name]
            given, out = _first(1, whole.given, own.given), _first(0, whole.out, own.out)
            last = _first(1, whole.out, own.out)
            tensors = [("conv1.weight", (*out, *given)), *((f"bn1.{each}", out) for each in _NORM)]
            if own.is_double:
                tensors += [("conv2.weight", (*out, *last)), *((f"bn2.{each}", out) for each in _NORM)]
            found |= {f"cells.{name}.{key}": cuts for key, cuts in tensors if cuts}
        of = architecture(self.space, genotype)
        for branch, most in enumerate(self._joins):
            for scale, channels in enumerate(joined(of, self.shape, branch)):
                before = self.shape.at(scale, self.shape.head_width)
                cuts = _first(1, before + most[scale], before + channels)
                if cuts:
                    found[f"joins.{branch}.refines.{scale}.conv.weight"] = cuts
        return found

    def absent(self, genotype: Genotype) -> frozenset[str]:
        """The cells that the subnet does not have."""
        own = {name for name, _ in self._own(genotype)}
        return frozenset(f"cells.{name}" for name in self._cells if name not in own)

    def settings(self, genotype: Genotype) -> Settings:  # noqa: ARG002
        return {}

    def distinct_steps(self) -> Iterator[tuple[Step, Genotype]]:
        """Yields a step for each label and each step without label, with a genotype that runs it.

        Random networks are varied, one cell and its two widths at a time.
        """
        seen: set[Step | str] = set()
        for template in self._templates():
            for varied in (template, *self._varied(template, seen)):
                for step in self.path(varied):
                    if (step.label or step) not in seen:
                        seen.add(step.label or step)
                        yield step, varied

    def _templates(self) -> Iterator[Genotype]:
        """Yields random networks, and each with its first branch starting with a halving, if that is a network."""
        rng, space = np.random.default_rng(0), self.space
        for _ in range(_TEMPLATES):
            found = space.sample(rng)
            yield found
            later = list(found.genes)
            for layer in range(space.downs(found.genes, 0)[0]):
                later[space.columns[f"e{layer}"]] = 0
            with suppress(UserError):
                yield space.from_vector(later)

    def _varied(self, template: Genotype, seen: Container[Step | str]) -> Iterator[Genotype]:
        """Yields networks with other choices at one of a network's cells, whose steps have labels that are not seen."""
        space, genes, shape = self.space, template.genes, self.shape
        for branch in range(2):
            cells = [
                (operator, width, scale, is_down)
                for _, scale, is_down, operator, width in space.cells(genes, branch)
                if space.axes[operator].choices[genes[operator]] != SKIP
            ]
            befores = [None, *(width for _, width, _, _ in cells)]
            for before, (operator, width, scale, is_down) in zip(befores, cells, strict=False):
                positions = [at for at in (operator, before, width) if at is not None]
                for chosen in product(*(range(space.cardinalities[at]) for at in positions)):
                    now = dict(zip(positions, chosen, strict=True))
                    word = str(space.axes[operator].choices[now[operator]])
                    if word == SKIP:
                        continue
                    given = shape.stem[-1] if before is None else shape.at(scale, self._width(before, now))
                    is_last = (operator, width) == cells[-1][:2]
                    twelfths = shape.head_width if is_last or width is None else self._width(width, now)
                    of = CellShape(word, scale, is_down, given, shape.at(scale + is_down, twelfths))
                    if of.label not in seen:
                        yield from self._replaced(template, now)
            halving = [
                before
                for before, (_, _, _, is_down) in zip(befores, cells, strict=False)
                if is_down and before is not None
            ]
            for chosen in product(*(range(space.cardinalities[at]) for at in halving)):
                yield from self._replaced(template, dict(zip(halving, chosen, strict=True)))

    def _width(self, position: int, now: Mapping[int, int]) -> int:
        return int(self.space.axes[position].choices[now[position]])

    def _replaced(self, template: Genotype, now: Mapping[int, int]) -> Iterator[Genotype]:
        """Yields a network with other genes at some positions, if it is one."""
        genes = [now.get(at, gene) for at, gene in enumerate(template.genes)]
        with suppress(UserError):
            yield self.space.from_vector(genes)

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.adoption import adopt_equal

        return adopt_equal(net, found, widening)


_NORM = ("weight", "bias", "running_mean", "running_var")


def _first(axis: int, full: int, kept: int) -> tuple[Cut, ...]:
    """The slice of the first channels of an axis; empty if all are kept."""
    return () if kept == full else (Cut(axis, ((0, kept),)),)
