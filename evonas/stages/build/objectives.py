"""Where a run keeps its latency table, and the objectives that ask for it."""

from collections.abc import Mapping
from typing import Any

from evonas.identifiers import identifier
from evonas.run import Run

TABLE = "lookup/table.json"
_LOOKUP = "objective/latency_lookup"


def with_latency_table(objectives: Mapping[str, Mapping[str, Any]], run: Run) -> dict[str, dict[str, Any]]:
    """The objectives with the run's own table where one of them names none.

    Raises:
        UserError: the run has no table; it says which command builds it.
    """
    found = {name: dict(each) for name, each in objectives.items()}
    for each in found.values():
        if identifier(each.get("_target_")) == _LOOKUP and each.get("table") is None:
            each["table"] = str(run.need(TABLE, made_by="lookup"))
    return found
