"""Segments of a block's tensors: rows or columns that are sliced and widened together."""

from dataclasses import dataclass

from evonas.supernets.evonet.cost import NetworkShape, mlp_width, ssd_width
from evonas.supernets.evonet.space import Architecture, StageChoice


@dataclass(frozen=True, slots=True)
class Segments:
    """The elastic tensors of a network's blocks.

    Args:
        shape: sizes of the network that are not searched.
        largest: the architecture that determines the sizes of the shared tensors.
        slice: slicing rule; see `EvoNet`.
    """

    shape: NetworkShape
    largest: Architecture
    slice: str

    def stored(self, stage: int) -> dict[str, tuple[int, tuple[int, ...]]]:
        """`of` for the shared tensors of a stage, counted from 0."""
        return self.of(stage, self.largest.stages[stage])

    def of(self, stage: int, choice: StageChoice) -> dict[str, tuple[int, tuple[int, ...]]]:
        """The elastic tensors of a block: the elastic axis of each, and the length of each segment of that axis.

        The first segment of a mixer's tensors is its width, which `heads` divides.

        Args:
            stage: index of the stage, counted from 0.
            choice: choices of the stage.
        """
        dim = self.shape.dims[stage]
        rows = mlp_width(choice, dim)
        found: dict[str, tuple[int, tuple[int, ...]]]
        found = {"mlp.fc1.weight": (0, (rows,)), "mlp.fc1.bias": (0, (rows,)), "mlp.fc2.weight": (1, (rows,))}
        if choice.d_state is None:
            return found
        width, state = ssd_width(choice, dim), choice.d_state
        whole = (width, state, state)
        for name in ("token_proj.weight", "conv.weight", "conv.bias"):
            found[f"mixer.{name}"] = (0, whole)
        for name in ("gate_proj.weight", "norm.weight", "norm.bias"):
            found[f"mixer.{name}"] = (0, (width,))
        return {**found, "mixer.out_proj.weight": (1, (width,))}

    def heads(self, stage: int, name: str) -> int:
        """The number of equal parts of the first segment of a tensor, each of which is sliced separately."""
        return self.shape.heads[stage] if self.slice == "per_head" and name.startswith("mixer.") else 1
