"""Reuse of archived evaluations of other searches with the same fingerprint."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from evonas.archive import Archive, Evaluation
from evonas.errors import UserError
from evonas.evaluate.engine import Engine, Job, Measurement, Outcome, Part
from evonas.space.space import Space

# fingerprint of a part, measured on the given number of images or, with None, on all
FingerprintOf: TypeAlias = Callable[[Part, int | None], str]


class ReusingEngine:
    """An engine that looks jobs up in archives and passes the other jobs to another engine.

    Outcomes equal those of measuring, so the archive of a search with reuse has the same canonical dump; only
    the table of executions says `from <archive>` instead of a worker. Failed evaluations are not reused, since
    the machine may have caused them.

    Args:
        engine: measures jobs that are in no archive; closed with this engine.
        archives: archives opened for reading (the caller closes them), each with the fingerprints that this
            search's measurements have in it. The first archive with an evaluation is used.
        space: formats genotypes as the archives do.
        incomplete: archives of searches that had fewer objectives, each with the fingerprints of these objectives and
            an engine that measures those that are missing; the caller closes it. They are asked after `archives`.
    """

    def __init__(
        self,
        engine: Engine,
        archives: Sequence[tuple[Archive, FingerprintOf]],
        space: Space,
        incomplete: Sequence[tuple[Archive, FingerprintOf, Engine]] = (),
    ) -> None:
        self._engine, self._archives, self._space = engine, archives, space
        self._incomplete = incomplete
        self._found: deque[Outcome] = deque()
        self._unknown: list[Job] = []
        self.reused = self.completed = 0

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield one outcome per job, reused ones first; closing the iterator drops the remaining jobs."""
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
        """Queue jobs."""
        for job in jobs:
            known = self._look_up(job)
            if known is None:
                self._unknown.append(job)
            else:
                self._found.append(known)

    def close(self) -> None:
        """Close the other engine; may be called twice."""
        self._engine.close()

    def _known(self) -> Iterator[Outcome]:
        while self._found:
            self.reused += 1
            yield self._found.popleft()

    def _taken(self) -> list[Job]:
        taken, self._unknown = self._unknown, []
        return taken

    def _look_up(self, job: Job) -> Outcome | None:
        text = self._space.format(job.genotype)
        for archive, fingerprint_of in self._archives:
            fact = archive.lookup(fingerprint_of(job.part, job.images), text)
            if fact is not None and fact.state == "done":
                measured = Measurement(fact.objectives, fact.extra)
                return Outcome(job, measured, worker=f"from {archive.path}")
        for archive, fingerprint_of, missing in self._incomplete:
            fact = archive.lookup(fingerprint_of(job.part, job.images), text)
            if fact is not None and fact.state == "done":
                return self._completed(job, fact, missing, archive)
        return None

    def _completed(self, job: Job, fact: Evaluation, missing: Engine, archive: Archive) -> Outcome:
        """A fact with the objectives that it lacks, which are cheap and measured at once."""
        [outcome] = missing.run([job])
        if outcome.measurement is None:
            return outcome
        objectives = {**fact.objectives, **outcome.measurement.objectives}
        extra = {**fact.extra, **outcome.measurement.extra}
        self.completed += 1
        return replace(outcome, measurement=Measurement(objectives, extra), worker=f"from {archive.path}")


def common_parts(archive: Archive, fingerprints: Mapping[Part, str]) -> set[Part]:
    """The parts whose fingerprints an archive has."""
    theirs = set((archive.meta.get("fingerprints") or {}).values())
    return {part for part, fingerprint in fingerprints.items() if fingerprint in theirs}


def require_common(archive: Archive, *fingerprints: Mapping[Part, str]) -> None:
    """Raise a UserError unless an archive has one of these fingerprints."""
    if not any(common_parts(archive, each) for each in fingerprints):
        raise UserError(
            f"{archive.path} has no evaluation that this search can reuse: space, weights, data or objectives "
            "differ.",
            "Remove it from reuse=.",
        )
