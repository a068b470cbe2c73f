"""The selected networks of a run (selected.json), and their weights after retraining."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import UserError
from evonas.report.selection.record import read_selection
from evonas.run import Run

SELECTED, ARCHIVE = "selected.json", "search/archive.sqlite"
# backbones taken from other runs or projects, and heads from the latter
TRANSFERRED, TRANSFERRED_HEAD = "transfer/{}.safetensors", "transfer/{}_head.safetensors"
# names become folders and are printed in pages and scripts; selected.json may be foreign
_NAME = re.compile(r"\w[\w.-]{0,119}", re.ASCII)
WEIGHTS = {"retrained": "model.safetensors", "scratch": "scratch.safetensors"}


@dataclass(frozen=True, slots=True)
class SelectedNetwork:
    """One entry of selected.json.

    Args:
        name: `knee`, `max`, `budget`, `spread1` and so on.
        genotype: text form.
        objectives: measured by the search, by name; empty for a network that it did not evaluate.
        transferred: origin of weights that another run or project trained; empty if it starts from this run's weights.

    Raises:
        UserError: the name cannot be the name of a folder.
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
    """The networks of selected.json.

    Raises:
        UserError: there is none; the hint is the command that selects.
        DataError: a value is not the one that the archive has.
    """
    selected = read_selection(run.need(SELECTED, made_by="select"), run.find(ARCHIVE))
    return [network_of_entry(entry) for entry in selected["nets"]]


def network_of_entry(entry: Mapping[str, Any]) -> SelectedNetwork:
    return SelectedNetwork(
        entry["name"], entry["genotype"], entry["objectives"], entry.get("transferred", {})
    )


def transferred_backbone(run: Run, net: SelectedNetwork) -> Path | None:
    """The file of a backbone that another run retrained; None if the network starts from this run's weights."""
    return run.need(TRANSFERRED.format(net.name), made_by="select") if net.transferred else None


def retraining_result(run: Run, net: SelectedNetwork) -> dict[str, Any] | None:
    """result.json of a network's retraining; None if there is none for this genotype."""
    path = run.find(f"retrain/{net.name}/result.json")
    found: dict[str, Any] | None = files.read_json(path, needs=("genotype",)) if path else None
    # an earlier selection may have had another network of this name
    return found if found and found["genotype"] == net.genotype else None


def trained_weights(run: Run, net: SelectedNetwork) -> Iterator[tuple[str, Path]]:
    """Kind (`retrained`, `scratch`) and file of the weights of this network and genotype."""
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
