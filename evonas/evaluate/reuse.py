"""Facts of other searches instead of measurements: what was measured under a fingerprint counts under it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from evonas.archive import Archive
from evonas.errors import UserError
from evonas.evaluate.engine import Engine, Job, Measurement, Outcome, Part

FingerprintOf: TypeAlias = Callable[[Job], str]


class Reusing:
    """An engine that answers from archives what they know, and lets another engine measure the rest.

    Its outcomes are those that measuring would give, so the archive of a search that reuses facts has the
    same canonical dump; only the table of executions says `from <archive>` in place of a worker. Failures
    are measured again: their cause may have been the machine.

    Args:
        engine: measures what no archive knows, and is closed with this one.
        archives: opened for reading, by whoever closes them, each with the fingerprint under which it would
            have a job's fact; the first that knows a fact counts.
    """

    def __init__(self, engine: Engine, archives: Sequence[tuple[Archive, FingerprintOf]]) -> None:
        self._engine, self._archives = engine, archives
        self._found: deque[Outcome] = deque()
        self._unknown: list[Job] = []
        self.reused = 0

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome per job, known ones first; abandoning the iterator forgets what is left."""
        self.submit(jobs)
        try:
            yield from self._known()
            for outcome in self._engine.run(self._taken()):
                yield outcome
                yield from self._known()
                self._engine.submit(self._taken())
        finally:
            self._found.clear()
            self._unknown.clear()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Let more jobs be answered."""
        for job in jobs:
            known = self._look_up(job)
            if known is None:
                self._unknown.append(job)
            else:
                self._found.append(known)

    def close(self) -> None:
        """Close the engine; harmless when repeated."""
        self._engine.close()

    def _known(self) -> Iterator[Outcome]:
        while self._found:
            self.reused += 1
            yield self._found.popleft()

    def _taken(self) -> list[Job]:
        taken, self._unknown = self._unknown, []
        return taken

    def _look_up(self, job: Job) -> Outcome | None:
        for archive, fingerprint_of in self._archives:
            fact = archive.lookup(fingerprint_of(job), job.genotype)
            if fact is not None and fact.state == "done":
                measured = Measurement(fact.objectives, fact.extra)
                return Outcome(job, measured, worker=f"from {archive.path}")
        return None


def require_common(archive: Archive, fingerprints: Mapping[Part, str]) -> None:
    """Raise a UserError if nothing in an archive was measured under one of these fingerprints."""
    theirs = archive.meta.get("fingerprints") or {}
    if not set(theirs.values()) & set(fingerprints.values()):
        raise UserError(
            f"{archive.path} can give no fact to this search: space, weights, data or objectives differ.",
            "Leave it out of reuse=.",
        )
