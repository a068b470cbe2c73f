"""What formulas are evaluated on: a sample of the tensors of every layer of some networks.

Legend: L layers (of all networks, one row each), m sampled elements, N networks.

A network of 30 M parameters has hundreds of megabytes of weights, gradients and activations; formulas look at
m elements of each tensor instead, drawn once and alike for tensors of one shape, so that W and G stay paired.
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
    """Sampled tensors of all layers of some networks.

    Args:
        values: (L m) of each leaf.
        counts: (L 1) elements of a whole tensor, of each kind.
        starts: (N) the first row of each network; every network has at least one layer.
    """

    values: Mapping[str, Rows]
    counts: Mapping[Kind, Rows]
    starts: NDArray[np.intp]

    @property
    def num_networks(self) -> int:
        """How many networks there are."""
        return len(self.starts)

    def tensors(self, leaf: str) -> Tensors:
        """The tensors that a leaf of a formula stands for."""
        return Tensors(self.values[leaf], self.counts[LEAVES[leaf]])

    def over_layers(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over the layers of each network: (L) to (N)."""
        return np.add.reduceat(rows, self.starts)

    def some(self, networks: Sequence[int]) -> "LayerSamples":
        """The layers of some of the networks, in the order given."""
        ends = np.append(self.starts[1:], len(next(iter(self.values.values()))))
        rows = [np.arange(self.starts[i], ends[i]) for i in networks]
        starts = np.cumsum([0, *(len(part) for part in rows[:-1])])
        places = np.concatenate(rows)
        values = {leaf: table[places] for leaf, table in self.values.items()}
        return LayerSamples(values, {kind: n[places] for kind, n in self.counts.items()}, starts)


def sample(layers: Sequence[Mapping[str, Flat]], size: int, seed: int) -> LayerSamples:
    """A sample of one network.

    Args:
        layers: of each layer the flattened tensors by leaf; tensors of one kind are of one length.
        size: elements to keep of each tensor; of a shorter tensor every element is kept about equally often.
        seed: of the places.
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
    """The samples of several networks as one, in the order given."""
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
