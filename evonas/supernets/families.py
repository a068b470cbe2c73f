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
    "elastic_timm": "evonas.supernets.elastic_timm.backbone",
    "ofa_mbv3": "evonas.supernets.ofa_mbv3.backbone",
    "elasticvit": "evonas.supernets.elasticvit.backbone",
    "fasterseg": "evonas.supernets.fasterseg.backbone",
    "nb201_cell": "evonas.supernets.nb201_cell.backbone",
}
# type of every exported backbone in OpenMMLab configs of the first release, which had one family
FORMER_TYPES = ("EvoNet",)


def family_config(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network config as a family is built from it.

    `space` is a separate entry that is passed as an argument; `weights` are loaded by stage=pretrain.
    """
    return {key: value for key, value in network.items() if key not in ("space", "weights")}


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
