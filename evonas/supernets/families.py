"""The list of supernet families, and the way from an exported description back to a backbone."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evonas.errors import DataError

if TYPE_CHECKING:
    from evonas.supernets.backbone import Backbone

# name of a family -> the module whose `restore(description)` builds one of its backbones
FAMILIES = {
    "evonet": "evonas.supernets.evonet.backbone",
    "mbconv": "evonas.supernets.mbconv.backbone",
}
# what configurations of OpenMMLab called every exported backbone when there was one family
FORMER_TYPES = ("EvoNet",)


def without_space(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network config as its family is built from it: the space, an entry of its own, is passed beside it."""
    return {key: value for key, value in network.items() if key != "space"}


def restore(description: dict[str, Any]) -> "Backbone":
    """The backbone that `family.describe` described, its tensors uninitialised for a state dict.

    Args:
        description: plain JSON, perhaps of somebody else; nothing in it is taken for a name of code.

    Raises:
        DataError: no such family, or the description does not fit it.
    """
    # exports of the first release know one family and do not name it
    name = description.get("family", "evonet")
    if name not in FAMILIES:
        raise DataError(
            f"This network is of family {name!r}, which this evonas does not have.",
            f"It has: {', '.join(FAMILIES)}.",
        )
    try:
        made: Backbone = import_module(FAMILIES[name]).restore(description)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"The description of this {name} network is damaged: {error}.", "Export it again."
        ) from error
    return made
