"""Registry of supernet families, and rebuilding of backbones from exported descriptions."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evonas.errors import DataError

if TYPE_CHECKING:
    from evonas.supernets.backbone import Backbone

# name of a family -> module whose `restore(description)` builds a backbone
FAMILIES = {
    "evonet": "evonas.supernets.evonet.backbone",
    "mbconv": "evonas.supernets.mbconv.backbone",
}
# type of every exported backbone in OpenMMLab configs of the first release, which had one family
FORMER_TYPES = ("EvoNet",)


def without_space(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network config without `space`, which is a separate entry and is passed to the family as an argument."""
    return {key: value for key, value in network.items() if key != "space"}


def restore(description: dict[str, Any]) -> "Backbone":
    """The backbone of a description by `family.describe`, with uninitialised tensors, to be loaded.

    Args:
        description: JSON data, possibly untrusted; no part of it is used as the name of code.

    Raises:
        DataError: the family is unknown, or the description is malformed.
    """
    # exports of the first release do not name their family
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
