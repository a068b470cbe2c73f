"""selected.json held against the archive that its networks were selected from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas import files
from evonas.errors import DamagedError, DataError
from evonas.report.archive_reader import read
from evonas.report.results import SearchResults


def read_selection(path: Path, archive: Path | None) -> dict[str, Any]:
    """The content of a selected.json.

    Args:
        path: the file.
        archive: of the search; None where there was none, and then nothing is compared.

    Raises:
        DataError: a file is damaged, or a value is not the one that the archive has of the network.
    """
    selected: dict[str, Any] = files.read_json(path, needs={"nets": list})
    metrics = selected.get("metrics", {})
    has_metrics = isinstance(metrics, dict) and all(isinstance(each, dict) for each in metrics.values())
    if not has_metrics or not all(map(_is_network, selected["nets"])):
        raise DamagedError(f"{path} is not a list of networks.", "Name a selected.json of evonas.")
    if archive is not None and archive.exists():
        check_selection(selected, read(archive), path)
    return selected


def _is_network(entry: Any) -> bool:
    """Whether an entry has what all readers need."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("genotype"), str)
        and isinstance(entry.get("objectives"), dict)
        and isinstance(entry.get("transferred", {}), dict)
    )


def check_selection(selected: Mapping[str, Any], results: SearchResults, path: Path) -> None:
    """Raise a DataError for the first value that the archive has otherwise or not at all.

    Networks that were named instead of selected have no values, and need not be in the archive.
    """
    for net in selected["nets"]:
        row = results.rows.get(net["genotype"])
        if row is None and net["objectives"]:
            raise DataError(
                f"{path} gives network '{net['name']}' values, but the archive has none of {net['genotype'][:200]}.",
                "Write it again with: stage=select, or restore the file that was changed.",
            )
        if row is None:
            continue
        recorded = results.objectives(row), results.readings(row)
        shown = net["objectives"], selected.get("metrics", {}).get(net["name"], {})
        for ours, theirs in zip(recorded, shown, strict=True):
            wrong = next((name for name in theirs if name in ours and ours[name] != theirs[name]), None)
            if wrong is not None:
                raise DataError(
                    f"{path} gives network '{net['name']}' {wrong} {theirs[wrong]!r}, and the archive "
                    f"{ours[wrong]!r}.",
                    "Write it again with: stage=select, or restore the file that was changed.",
                )
