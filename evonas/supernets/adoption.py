"""Initialising a supernet from another checkpoint: the record of its tensors, and the rule without widening."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from evonas.errors import DataError, UserError

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Adoption:
    """Result of loading a checkpoint; `unused` lists names of the file, the other fields names of the network.

    Args:
        naming: naming scheme of the file.
        adopted: tensors loaded unchanged.
        padded: tensors loaded into larger ones.
        left: tensors of the network that keep their values.
        unused: tensors of the file without a counterpart.
    """

    naming: str
    adopted: tuple[str, ...]
    padded: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]

    def sentence(self) -> str:
        """Counts, and the first names that did not match."""
        taken = len(self.adopted) + len(self.padded)
        of = taken + len(self.left)
        return (
            f"{taken} of {of} tensors adopted, {len(self.padded)} of them padded; "
            f"left fresh: {first_names(self.left)}; unused: {first_names(self.unused)}"
        )

    def facts(self) -> dict[str, object]:
        """The record as JSON data."""
        return {
            "naming": self.naming,
            "adopted": len(self.adopted) + len(self.padded),
            "of": len(self.adopted) + len(self.padded) + len(self.left),
            "padded": list(self.padded),
            "left": list(self.left),
            "unused": list(self.unused),
        }


def adopt_equal(net: nn.Module, found: Mapping[str, Tensor], widening: str = "zeros") -> Adoption:
    """Loads tensors of equal name and shape in place, for families without other naming schemes or widening.

    Args:
        net: has `backbone` and `head`; the head is loaded completely or not at all.
        found: tensors of the checkpoint by name.
        widening: must be `zeros`, the default of `stage.widening`.

    Raises:
        DataError: no tensor of the backbone matches.
        UserError: widening is not `zeros`.
    """
    if widening != "zeros":
        raise UserError(f"stage.widening={widening} is not for this network.", "Leave stage.widening out.")
    wanted = net.state_dict()
    new = {
        name: found[name] for name, own in wanted.items() if name in found and found[name].shape == own.shape
    }
    head = [name for name in wanted if name.startswith("head.")]
    if not all(name in new for name in head):
        new = {name: tensor for name, tensor in new.items() if name not in head}
    if not any(name.startswith("backbone.") and tensor.ndim > 1 for name, tensor in new.items()):
        raise DataError(
            f"No tensor of the checkpoint fits the network; its names are {first_names(tuple(found))}.",
            "Use weights that stage=pretrain or stage=supernet made with this network.",
        )
    net.load_state_dict(new, strict=False)
    left, unused = (name for name in wanted if name not in new), (name for name in found if name not in new)
    return Adoption("evonas", tuple(new), (), tuple(left), tuple(sorted(unused)))


def first_names(names: tuple[str, ...]) -> str:
    """The number of names, and the first of them."""
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"
