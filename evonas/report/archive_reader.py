"""Reads search results from an archive."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evonas.archive import Archive, candidates
from evonas.errors import DataError
from evonas.report.results import Cost, SearchResults, gather


def read(path: Path) -> SearchResults:
    """Read the results of a search, which may still be running.

    Raises:
        UserError: there is no archive, or a newer version of evonas wrote it.
        DataError: the archive is damaged.
    """
    with Archive.read(path) as archive:
        meta = archive.meta
        _check(meta, path)
        names = list(meta["objectives"])
        found = candidates(archive, meta["fingerprints"], names)
        costs = _costs(archive)
        raced = (meta.get("evaluate") or {}).get("rungs", {})
        failed_on_rung = (
            [fact for fact in archive.evaluations() if fact.fingerprint in raced and fact.state == "failed"]
            if raced
            else []
        )
    reference, ideal = meta.get("reference"), meta.get("ideal")
    rows = [
        (
            each.genotype,
            dict(zip(names, each.objectives, strict=True)) if each.objectives else None,
            each.reason,
        )
        for each in found
    ]
    # a point that failed on a racing rung has no evaluation on all images
    rows += [(fact.genotype, None, fact.reason) for fact in failed_on_rung]
    results = gather(
        names,
        rows,
        units=meta.get("units", {}),
        reference=tuple(reference) if reference else None,
        ideal=tuple(ideal) if ideal else None,
        identity=meta,
        seconds=sum(cost.seconds for cost in costs),
        costs=costs,
    )
    known = {each.genotype: each for each in found}
    kept = [known[genotype] for genotype in results.genotypes]
    asked = [each.seq // len(meta["fingerprints"]) for each in kept]
    return replace(results, extras=[each.extra for each in kept], asked=asked)


def _check(meta: Mapping[str, Any], path: Path) -> None:
    """Raise a DataError unless the metadata is that of a search."""
    names, prints = meta.get("objectives"), meta.get("fingerprints")
    boxes = [meta.get(key) for key in ("reference", "ideal")]
    is_sound = (
        isinstance(names, list)
        and names
        and all(isinstance(name, str) for name in names)
        and isinstance(prints, dict)
        and all(isinstance(print_, str) for print_ in prints.values())
        and all(isinstance(meta.get(key) or {}, dict) for key in ("units", "evaluate", "sources"))
        and all(
            box is None
            or (
                isinstance(box, list)
                and len(box) == len(names)
                and all(isinstance(value, int | float) for value in box)
            )
            for box in boxes
        )
    )
    if not is_sound:
        missing = [key for key in ("objectives", "fingerprints") if key not in meta]
        what = f"it has no {missing[0]}" if missing else "its metadata is not that of a search"
        raise DataError(
            f"{path} is damaged: {what}.",
            "Restore the file from a copy, or start another search with run=<new name>.",
        )


def _costs(archive: Archive) -> list[Cost]:
    """Cost of each part and fingerprint; racing rungs have fingerprints of their own."""
    counts: Counter[tuple[str, str, str]] = Counter(
        (fact.part, fact.fingerprint, fact.state) for fact in archive.evaluations()
    )
    known = sorted({(part, fingerprint) for part, fingerprint, _ in counts})
    return [
        Cost(
            *key,
            counts[*key, "done"] + counts[*key, "failed"],
            counts[*key, "failed"],
            archive.seconds(key[1]),
        )
        for key in known
    ]
