"""Loading of ElasticViT's checkpoints: names are ours without the prefixes `backbone.` and `head.`, after `module.`."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from evonas.errors import DataError, UserError
from evonas.supernets.adoption import Adoption, adopt_equal, first_names

_OURS = ("backbone.", "head.")
# upstream spells it so
_HEAD = ("pre_head_", "classifer.")
_PARALLEL = "module."


def adopt(net: nn.Module, found: Mapping[str, Tensor], widening: str) -> Adoption:
    """See `SupernetFamily.adopt`; of a foreign file the whole backbone must fit.

    Raises:
        DataError: the file is not one of ElasticViT, or a tensor of the backbone is missing or of another shape.
        UserError: widening is not `zeros`.
    """
    if any(name.startswith(_OURS) for name in found):
        return adopt_equal(net, found, widening)
    if widening != "zeros":
        raise UserError(f"stage.widening={widening} is not for this network.", "Leave stage.widening out.")
    given = our_names(found)
    for name, own in net.state_dict().items():
        if not name.startswith(_OURS[0]):
            continue
        # counters of batches decide nothing
        if name not in given and not name.endswith("num_batches_tracked"):
            raise DataError(
                f"The checkpoint has no tensor for {name}; its names are {first_names(tuple(found))}.",
                "Use a checkpoint of an ElasticViT supernet, or one that evonas made.",
            )
        if name in given and given[name].shape != own.shape:
            raise DataError(
                f"{name} is {tuple(given[name].shape)} in the checkpoint and {tuple(own.shape)} in the network.",
                "Choose space=elasticvit and network.bias_side=256, as published.",
            )
        if name.endswith("relative_position_index") and name in given:
            _check_index(name, given[name], len(own))
    return replace(adopt_equal(net, given, widening), naming="ElasticViT")


def our_names(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published state dict under the names of our networks."""
    made: dict[str, Tensor] = {}
    for given, tensor in found.items():
        name = given
        while name.startswith(_PARALLEL):
            name = name.removeprefix(_PARALLEL)
        made[f"{_OURS[1] if name.startswith(_HEAD) else _OURS[0]}{name}"] = tensor
    return made


def _check_index(name: str, index: Tensor, tokens: int) -> None:
    """Refuses an index that would read outside of its table."""
    side = round(tokens**0.5)
    rows = (2 * side - 1) ** 2
    if index.is_floating_point() or bool(((index < 0) | (index >= rows)).any()):
        raise DataError(
            f"{name} of the checkpoint does not hold rows of a table of {rows}.",
            "Use a checkpoint of an ElasticViT supernet.",
        )
