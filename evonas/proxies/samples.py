"""Samples of layer tensors, on which formulas are evaluated.

Legend: L layers (of all networks, one row each), m sampled elements, N networks.

Weights, gradients and activations of a network of 30 M parameters take hundreds of megabytes, so formulas use m
sampled elements per tensor. Tensors of equal shape use the same positions, so W and G remain paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.proxies.operators import LEAVES, Kind, Rows, Tensors
from evonas.randomness import generator

Flat = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class LayerSamples:
    """Sampled tensors of all layers of several networks.

    Args:
        values: sampled elements (L m) of each leaf.
        counts: number of elements (L 1) of the whole tensors, by kind.
        starts: first row of each network (N); every network has at least one layer.
    """

    values: Mapping[str, Rows]
    counts: Mapping[Kind, Rows]
    starts: NDArray[np.intp]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(self.starts)

    def tensors(self, leaf: str) -> Tensors:
        """The tensors of a leaf."""
        return Tensors(self.values[leaf], self.counts[LEAVES[leaf]])

    def over_layers(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums rows (L) over the layers of each network (N)."""
        return np.add.reduceat(rows, self.starts)

    def some(self, networks: Sequence[int]) -> "LayerSamples":
        """The layers of selected networks, in the given order."""
        ends = np.append(self.starts[1:], len(next(iter(self.values.values()))))
        rows = [np.arange(self.starts[i], ends[i]) for i in networks]
        starts = np.cumsum([0, *(len(part) for part in rows[:-1])])
        places = np.concatenate(rows)
        values = {leaf: table[places] for leaf, table in self.values.items()}
        return LayerSamples(values, {kind: n[places] for kind, n in self.counts.items()}, starts)


def sample(layers: Sequence[Mapping[str, Flat]], size: int, seed: int) -> LayerSamples:
    """Samples the layers of one network.

    Args:
        layers: flattened tensors of each layer by leaf; tensors of one kind have equal length.
        size: sampled elements per tensor; shorter tensors repeat elements about equally often.
        seed: seed of the positions.
    """
    assert layers, "a network without layers has no score"
    values: dict[str, list[Rows]] = {leaf: [] for leaf in LEAVES}
    counts: dict[Kind, list[float]] = {"weight": [], "map": []}
    for index, layer in enumerate(layers):
        for kind, leaves in (("weight", ("W", "G")), ("map", ("A", "D"))):
            number = len(layer[leaves[0]])
            chosen = _places(number, size, seed, 2 * index + (kind == "map"))
            for leaf in leaves:
                values[leaf].append(np.asarray(layer[leaf], dtype=np.float64)[chosen])
            counts["weight" if kind == "weight" else "map"].append(float(number))
    tables = {leaf: np.stack(rows) for leaf, rows in values.items()}
    columns = {kind: np.array(numbers)[:, None] for kind, numbers in counts.items()}
    return LayerSamples(tables, columns, np.zeros(1, dtype=np.intp))


def join(networks: Sequence[LayerSamples]) -> LayerSamples:
    """Concatenates samples of several networks."""
    lengths = [len(network.values["W"]) for network in networks]
    shifts = np.cumsum([0, *lengths[:-1]])
    starts = np.concatenate([part.starts + shift for part, shift in zip(networks, shifts, strict=True)])
    values = {leaf: np.concatenate([part.values[leaf] for part in networks]) for leaf in LEAVES}
    kinds: tuple[Kind, ...] = ("weight", "map")
    counts = {kind: np.concatenate([part.counts[kind] for part in networks]) for kind in kinds}
    return LayerSamples(values, counts, starts)


def _places(number: int, size: int, seed: int, step: int) -> NDArray[np.intp]:
    if number <= size:
        return np.arange(size, dtype=np.intp) * number // size
    rng = generator(seed, "proxies/sample", step)
    return np.sort(rng.choice(number, size, replace=False)).astype(np.intp)
