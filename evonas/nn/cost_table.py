"""Multiply-adds of many subnets at once: the closed forms of `cost.py`, each block priced once."""

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from evonas.nn.cost import NetworkShape, count_macs
from evonas.space.evonet import Architecture, StageChoice, architecture
from evonas.space.genotype import Genotype
from evonas.space.space import Space

Vectors = NDArray[np.integer]


class CostTable:
    """Backbone multiply-adds of whole arrays of genotypes.

    A network costs what is fixed, plus for each stage the number of its blocks times the price of
    one, which depends on that stage's choices alone. Free of torch.

    Args:
        space: an evonet space.
        shape: the sizes that are not searched.
        height: of one image, in pixels.
        width: of one image, in pixels.

    Raises:
        UserError: the space is not laid out like `evonet_space`.
    """

    def __init__(self, space: Space, shape: NetworkShape, height: int, width: int) -> None:
        self.space, self.shape, self.size = space, shape, (height, width)
        whole = architecture(space, space.largest())
        self._stages = len(whole.stages)
        self._empty = tuple(_without_blocks(stage) for stage in whole.stages)

    def macs(self, vectors: Vectors) -> NDArray[np.int64]:
        """Multiply-adds of each row of integer layouts, equal to `count_macs` of each."""
        rows = np.asarray(vectors)
        total = np.full(len(rows), self._fixed, dtype=np.int64)
        for stage, prices in enumerate(self._prices):
            depth = rows[:, self.space.spans[f"d{stage + 1}"]].sum(axis=1, dtype=np.int64)
            chosen = tuple(rows[:, self.space.spans[name].start] for name in self._axes(stage))
            total += depth * prices[chosen]
        return total

    def of(self, genotype: Genotype) -> int:
        """Multiply-adds of one genotype."""
        return int(self.macs(np.array([genotype.genes]))[0])

    @cached_property
    def _fixed(self) -> int:
        return count_macs(Architecture(self._empty), self.shape, *self.size)

    @cached_property
    def _prices(self) -> Sequence[NDArray[np.int64]]:
        """One block of each stage, indexed by the stage's choices."""
        return [self._priced(stage) for stage in range(self._stages)]

    def _priced(self, stage: int) -> NDArray[np.int64]:
        axes = {axis.name: axis.choices for axis in self.space.axes}
        choices = [[float(value) for value in axes[name]] for name in self._axes(stage)]
        prices = [self._block(stage, values) for values in product(*choices)]
        return np.array(prices, dtype=np.int64).reshape([len(each) for each in choices])

    def _block(self, stage: int, values: tuple[float, ...]) -> int:
        is_attention = len(values) == 1
        d_state, expand = (None, None) if is_attention else (int(values[1]), values[2])
        one = StageChoice(values[0], d_state, expand, (True,))
        stages = (*self._empty[:stage], one, *self._empty[stage + 1 :])
        return count_macs(Architecture(stages), self.shape, *self.size) - self._fixed

    def _axes(self, stage: int) -> tuple[str, ...]:
        prefixes = "mse" if stage + 1 < self._stages else "m"
        return tuple(f"{prefix}{stage + 1}" for prefix in prefixes)


def _without_blocks(choice: StageChoice) -> StageChoice:
    return StageChoice(choice.mlp_ratio, choice.d_state, choice.expand, ())
