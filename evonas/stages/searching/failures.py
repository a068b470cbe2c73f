"""How many evaluations of a search failed, why, and through whose fault."""

from collections import Counter
from collections.abc import Iterator

from evonas.archive import Archive, Evaluation
from evonas.search.loop.evaluation import OWNER
from evonas.track.progress import plural

SHOWN_REASONS = 5


def failed(archive: Archive) -> list[Evaluation]:
    """The failed evaluations of an archive, in the order asked."""
    return [each for each in archive.evaluations() if each.state == "failed"]


def machine_failures(archive: Archive) -> int:
    """Number of evaluations that the machine failed, which may succeed when they are measured again."""
    return sum(each.extra.get(OWNER) == "machine" for each in failed(archive))


def failure_summary(archive: Archive) -> Iterator[str]:
    """How many evaluations failed and why, the most frequent reason first; nothing where none failed."""
    found = failed(archive)
    if not found:
        return
    total = len(archive.evaluations())
    yield f"{len(found)} of {total} {plural('evaluation', total)} failed:"
    reasons = Counter((each.reason, str(each.extra.get(OWNER, "genotype"))) for each in found)
    examples = {each.reason: each.genotype for each in reversed(found)}
    for (reason, owner), count in reasons.most_common(SHOWN_REASONS):
        yield f"  {count} by the {owner}: {reason} (such as {examples[reason]})"
    if len(reasons) > SHOWN_REASONS:
        yield f"  and {len(reasons) - SHOWN_REASONS} more reasons, which the archive records"
