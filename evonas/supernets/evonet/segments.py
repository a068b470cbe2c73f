"""Which rows and columns of a block's tensors belong together, and are sliced and widened as one."""

from dataclasses import dataclass

from evonas.supernets.evonet.cost import NetworkShape, hidden, inner
from evonas.supernets.evonet.space import Architecture, StageChoice


@dataclass(frozen=True, slots=True)
class Segments:
    """The elastic tensors of a network's blocks.

    Args:
        shape: the widths of the network.
        largest: the choices that set the size of the shared tensors.
        slice: how subnets are cut, see `EvoNet`.
    """

    shape: NetworkShape
    largest: Architecture
    slice: str

    def stored(self, stage: int) -> dict[str, tuple[int, tuple[int, ...]]]:
        """As `of`, of the shared tensors."""
        return self.of(stage, self.largest.stages[stage])

    def of(self, stage: int, choice: StageChoice) -> dict[str, tuple[int, tuple[int, ...]]]:
        """What is elastic in a block: tensor -> its axis, and the length of each segment of that axis.

        The first segment of a mixer's tensors is the inner width, which `heads` cuts head by head.
        """
        rows, dim = hidden(choice, self.shape.dims[stage]), self.shape.dims[stage]
        found: dict[str, tuple[int, tuple[int, ...]]]
        found = {"mlp.fc1.weight": (0, (rows,)), "mlp.fc1.bias": (0, (rows,)), "mlp.fc2.weight": (1, (rows,))}
        if choice.d_state is None:
            return found
        width, state = inner(choice, dim), choice.d_state
        whole = (width, state, state)
        for name in ("token_proj.weight", "conv.weight", "conv.bias"):
            found[f"mixer.{name}"] = (0, whole)
        for name in ("gate_proj.weight", "norm.weight", "norm.bias"):
            found[f"mixer.{name}"] = (0, (width,))
        return {**found, "mixer.out_proj.weight": (1, (width,))}

    def heads(self, stage: int, name: str) -> int:
        """Parts of the first segment of a block's tensor, of each of which a subnet has the first channels."""
        return self.shape.heads[stage] if self.slice == "per_head" and name.startswith("mixer.") else 1
