"""The chosen networks of a run, and the weights that later stages gave them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import UserError
from evonas.run import Run

SELECTED = "selected.json"
# the backbone that a network brought from another run
TRANSFERRED = "transfer/{}.safetensors"
# names become folders, and are printed in pages and scripts; a list of networks may come from anybody
_NAME = re.compile(r"\w[\w.-]{0,119}", re.ASCII)
WEIGHTS = {"retrained": "model.safetensors", "scratch": "scratch.safetensors"}


@dataclass(frozen=True, slots=True)
class SelectedNetwork:
    """One entry of selected.json.

    A name that could not be a folder's is a UserError.

    Args:
        name: `knee`, `max`, `budget`, `spread1` and so on.
        genotype: text form.
        objectives: values that the search found, by name; empty for a net it never evaluated.
        transferred: where its backbone was retrained before; empty where it starts from this run's weights.
    """

    name: str
    genotype: str
    objectives: dict[str, float]
    transferred: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise UserError(
                f"{str(self.name)[:80]!r} cannot be the name of a network.",
                "Use letters, digits, dots, dashes and underscores.",
            )


def selected_networks(run: Run) -> list[SelectedNetwork]:
    """The networks of selected.json; a missing file is a UserError that names `select`."""
    selected = files.read_json(run.need(SELECTED, made_by="select"))
    return [network_of_entry(entry) for entry in selected["nets"]]


def network_of_entry(entry: Mapping[str, Any]) -> SelectedNetwork:
    return SelectedNetwork(
        entry["name"], entry["genotype"], entry["objectives"], entry.get("transferred", {})
    )


def transferred_backbone(run: Run, net: SelectedNetwork) -> Path | None:
    """The backbone that a network starts from, where another run retrained it."""
    return run.need(TRANSFERRED.format(net.name), made_by="select") if net.transferred else None


def retraining_result(run: Run, net: SelectedNetwork) -> dict[str, Any] | None:
    """What retraining found for a network, unless that was for an earlier choice of the same name."""
    path = run.find(f"retrain/{net.name}/result.json")
    found: dict[str, Any] | None = files.read_json(path) if path else None
    return found if found and found["genotype"] == net.genotype else None


def trained_weights(run: Run, net: SelectedNetwork) -> Iterator[tuple[str, Path]]:
    """Kind (`retrained`, `scratch`) and file of the weights that belong to this very network."""
    if retraining_result(run, net) is None:
        return
    for kind, file in WEIGHTS.items():
        path = run.find(f"retrain/{net.name}/{file}")
        if path is not None:
            yield kind, path


def need_retrained(run: Run, net: SelectedNetwork) -> Path:
    """The retrained weights of a network, or a UserError that says how to make them."""
    path = dict(trained_weights(run, net)).get("retrained")
    if path is None:
        message = f"Network '{net.name}' of run '{run.name}' is not retrained yet."
        raise UserError(message, f"Make it with: {run.command('retrain')}")
    return path
