"""The space and the supernet family that a run records, for stages that only look at it.

A run folder may come from somebody else, so its records are data: they may name spaces and families and nothing else.
"""

import logging
from collections.abc import Mapping
from typing import Any

from evonas.config import build_data
from evonas.errors import DataError, UserError
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily
from evonas.supernets.families import family_config

_LOG = logging.getLogger(__name__)


def recorded_space(node: Any) -> Space | None:
    """The space of a recorded config; None, with a warning, where it cannot be made, as one of the user's own code.

    Args:
        node: plain data, or None where none is recorded.
    """
    if not isinstance(node, Mapping):
        return None
    try:
        built = build_data(node, "space")
    except (UserError, DataError) as error:
        _LOG.warning("What genes mean is left out: %s", error.message)
        return None
    return built if isinstance(built, Space) else None


def recorded_family(node: Any, space: Space | None) -> SupernetFamily | None:
    """The family of a recorded network; None for the run of a table, whose network is not of its space."""
    if space is None or not isinstance(node, Mapping):
        return None
    try:
        built = build_data(family_config(node), "network", space=space)
    except (UserError, DataError):
        return None
    return built if isinstance(built, SupernetFamily) else None
