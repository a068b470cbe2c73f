"""Encoding of networks of stages as a matrix with a row for each layer, as EDNAG and DiffusionNAG encode MobileNetV3.

The space of Once-for-All's MobileNetV3 with one image size makes a matrix of 22 rows and 12 columns. Its columns are
the words input, output, the nine pairs of kernel and expansion, and none; the first row must be input and the last
output, and between them are five stages of four layers. Which layers follow one another is fixed.
"""

import math
from collections.abc import Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.diffusion.relaxation import OneHotRows
from evonas.space.genes import Axis, prefix_of
from evonas.space.genotype import Genotype
from evonas.space.space import Space

INPUT, OUTPUT, WORDS = 0, 1, 2
# random points that tell whether a space numbers its layers as expected
_CHECKED = 8


class LayerMatrix(OneHotRows):
    """A matrix with a row for input, each layer and output (Zhou and Tang, arXiv 2504.17827, on MobileNetV3).

    A word is a choice for every gene of a layer: kernel 3 with each expansion, then kernel 5 with each, and so on. A
    matrix is a network if its first row is input, its last one output, no other row is either of them, and each stage
    has a number of layers that its depth gene knows. `none` between layers of a stage means nothing in networks that
    run the first layers of a stage, so such a matrix is no network either.

    Args:
        space: depths d1, d2, ... count the layers of stages; each layer has the same genes with the layer's number,
            such as k3 and e3; all other genes have one choice.

    Raises:
        UserError: the space has other genes.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        axes = {axis.name: axis for axis in space.axes}
        depths = [axes[name] for name in space.members.get("depth", ()) if name in axes]
        # layers of each stage that a network may have
        self._known = [
            {int(choice) for choice in axis.choices if not isinstance(choice, str)} for axis in depths
        ]
        self._depths = [space.spans[axis.name].start for axis in depths]
        self._lengths = [max(known, default=0) for known in self._known]
        total = sum(self._lengths)
        prefixes = dict.fromkeys(prefix_of(axis.name) for axis in space.axes if axis not in depths)
        of_layers = [
            prefix
            for prefix in prefixes
            if total and all(f"{prefix}{at}" in axes for at in range(1, total + 1))
        ]
        layers = [[axes[f"{prefix}{at}"] for prefix in of_layers] for at in range(1, total + 1)]
        self._check(depths, layers)
        self._genes = np.array([[space.spans[axis.name].start for axis in genes] for genes in layers])
        self._shape = tuple(axis.cardinality for axis in layers[0])
        self._none = WORDS + math.prod(self._shape)
        super().__init__([self._none + 1] * (total + 2))
        rng = generator(0, "search.layers")
        some = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(_CHECKED))]
        if self.decode(self.encode(some)) != some:
            raise UserError(
                f"In space {space.name} other layers than the first of each stage run, so it has no matrix of layers.",
                "Leave search.encoding out.",
            )

    def decode(self, rows: np.ndarray) -> list[Genotype | None]:
        """The points of (N, D) vectors; None for those that are no network."""
        words = rows.reshape(len(rows), -1, self._none + 1).argmax(axis=2)
        return [self._point(each) for each in words]

    def _words(self, point: Genotype) -> np.ndarray:
        genes, found = np.array(point.genes), [INPUT]
        choices = np.ravel_multi_index(tuple(genes[self._genes].T), self._shape) + WORDS
        for length, depth in zip(self._lengths, self._depths_of(point), strict=True):
            start = len(found) - 1
            found += [*choices[start : start + depth].tolist(), *[self._none] * (length - depth)]
        return np.array([*found, OUTPUT])

    def _point(self, words: np.ndarray) -> Genotype | None:
        """The point of the words of a matrix."""
        inner = words[1:-1]
        if words[0] != INPUT or words[-1] != OUTPUT or (inner < WORDS).any():
            return None
        genes, start = np.zeros(len(self._space.cardinalities), dtype=int), 0
        for at, (length, known) in enumerate(zip(self._lengths, self._known, strict=True)):
            is_layer = inner[start : start + length] != self._none
            depth = int(is_layer.sum())
            if depth not in known or not is_layer[:depth].all():
                return None
            genes[self._depths[at]] = sorted(known).index(depth)
            chosen = np.unravel_index(inner[start : start + depth] - WORDS, self._shape)
            genes[self._genes[start : start + depth]] = np.stack(chosen, axis=1)
            start += length
        return self._space.from_vector(genes)

    def _depths_of(self, point: Genotype) -> list[int]:
        return [sorted(known)[point.genes[at]] for known, at in zip(self._known, self._depths, strict=True)]

    def _check(self, depths: Sequence[Axis], layers: Sequence[Sequence[Axis]]) -> None:
        """Refuses spaces whose points are not stages of layers with equal choices."""
        name = self._space.name
        if not layers or not layers[0] or any(min(known, default=0) < 1 for known in self._known):
            raise UserError(
                f"Space {name} has no depths d1, d2, ... with layers that have genes of their own, so it has no matrix "
                "of layers.",
                "Use it with Once-for-All's MobileNetV3, or leave search.encoding out.",
            )
        if any([axis.choices for axis in genes] != [axis.choices for axis in layers[0]] for genes in layers):
            raise UserError(
                f"The layers of space {name} have different choices, so one row of words does not fit all of them.",
                "Leave search.encoding out.",
            )
        named = {axis.name for axis in depths} | {axis.name for genes in layers for axis in genes}
        others = [gene.name for gene in self._space.genes if gene.name not in named]
        free = [key for key in others if any(self._space.upper[self._space.spans[key]])]
        if free:
            raise UserError(
                f"A matrix of layers has no place for {', '.join(free)} of space {name}.",
                "Leave one choice, as in space.resolutions=[224], or leave search.encoding out.",
            )
