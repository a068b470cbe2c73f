"""From an archive to facts: the only place of the report that knows how a search is stored."""

from dataclasses import replace
from pathlib import Path

from evonas.archive import Archive, candidates
from evonas.report.facts import Facts, gather


def read(path: Path) -> Facts:
    """What a search has found so far; may be called while it runs.

    Raises:
        UserError: there is no archive, or a newer evonas wrote it.
        DataError: the archive is damaged.
    """
    with Archive.read(path) as archive:
        meta = archive.meta
        names = list(meta["objectives"])
        found = candidates(archive, meta["fingerprints"], names)
        seconds = archive.seconds()
        raced = meta.get("evaluate", {}).get("rungs", {})
        fell = (
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
    # a point that failed on some images was never measured on all
    rows += [(fact.genotype, None, fact.reason) for fact in fell]
    facts = gather(
        names,
        rows,
        units=meta.get("units", {}),
        reference=tuple(reference) if reference else None,
        ideal=tuple(ideal) if ideal else None,
        identity=meta,
        seconds=seconds,
    )
    extras = {each.genotype: each.extra for each in found}
    return replace(facts, extras=[extras[genotype] for genotype in facts.genotypes])
