"""The search: ask, look up or measure, record, tell. Resuming is replaying the same code."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from evonas import faults
from evonas.archive import Archive, Evaluation
from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Engine, Job, Outcome, Part
from evonas.search.base import Searcher, Told
from evonas.space.genotype import Genotype
from evonas.space.space import Space


@dataclass(frozen=True, slots=True)
class Generation:
    """What is known after one batch was told; counts are of genotypes and run over the whole search."""

    number: int
    told: tuple[Told, ...]
    evaluations: int
    failures: int
    measured: int


def search(
    searcher: Searcher,
    engine: Engine,
    archive: Archive,
    space: Space,
    objectives: Mapping[str, Part],
    fingerprints: Mapping[Part, str],
    on_generation: Callable[[Generation], None] | None = None,
    on_outcome: Callable[[Outcome, Evaluation], None] | None = None,
) -> int:
    """Run the searcher until it has nothing more to ask; the number of genotypes told.

    What the archive knows is never measured again, so a killed search that is started
    with the same searcher asks the same points, replays its facts and goes on.

    Args:
        searcher: fresh; it is replayed from its seed.
        objectives: part of each objective; their order is that of the objective vectors.
        fingerprints: of each part that an objective belongs to.
        on_generation: told after every batch.
        on_outcome: told after every measurement is recorded.

    Raises:
        EngineError: if the engine loses a job or cannot work.
    """
    parts = [part for part in PARTS if part in objectives.values()]
    number = evaluations = failures = measured = 0
    while asked := searcher.ask():
        texts = [space.format(genotype) for genotype in asked]
        jobs = list(_unknown(archive, texts, evaluations, parts, fingerprints))
        _measure(jobs, engine, archive, objectives, fingerprints, on_outcome)
        told = [
            _told(archive, genotype, text, objectives, fingerprints)
            for genotype, text in zip(asked, texts, strict=True)
        ]
        searcher.tell(told)
        faults.point("search.after_tell")
        number, evaluations, measured = number + 1, evaluations + len(told), measured + len(jobs)
        failures += sum(fact.objectives is None for fact in told)
        if on_generation is not None:
            on_generation(Generation(number, tuple(told), evaluations, failures, measured))
    return evaluations


def _unknown(
    archive: Archive, texts: list[str], offset: int, parts: list[Part], fingerprints: Mapping[Part, str]
) -> Iterator[Job]:
    """A job for each fact that is missing, once; `seq` counts all facts of all points asked."""
    wanted: set[tuple[str, Part]] = set()
    for index, text in enumerate(texts, start=offset):
        for place, part in enumerate(parts):
            if (text, part) not in wanted and archive.lookup(fingerprints[part], text) is None:
                wanted.add((text, part))
                yield Job(index * len(parts) + place, text, part)


def _measure(
    jobs: list[Job],
    engine: Engine,
    archive: Archive,
    objectives: Mapping[str, Part],
    fingerprints: Mapping[Part, str],
    on_outcome: Callable[[Outcome, Evaluation], None] | None,
) -> None:
    open_jobs = {job.seq for job in jobs}
    for outcome in engine.run(jobs) if jobs else ():
        names = [name for name, part in objectives.items() if part == outcome.job.part]
        fact = _fact(outcome, fingerprints[outcome.job.part], names)
        fact = archive.record(fact, outcome.seconds, outcome.worker)
        open_jobs.discard(outcome.job.seq)
        if on_outcome is not None:
            on_outcome(outcome, fact)
    if open_jobs:
        raise EngineError(f"The engine lost {len(open_jobs)} of {len(jobs)} jobs.", "Repeat with resume=true")


def _fact(outcome: Outcome, fingerprint: str, names: list[str]) -> Evaluation:
    job, measurement = outcome.job, outcome.measurement
    if measurement is None:
        reason = outcome.reason or "no reason was given"
        return Evaluation(job.seq, fingerprint, job.genotype, job.part, "failed", reason=reason)
    missing = [name for name in names if name not in measurement.objectives]
    if missing:
        reason = f"objective {missing[0]} was not measured"
        return Evaluation(job.seq, fingerprint, job.genotype, job.part, "failed", reason=reason)
    values = {name: measurement.objectives[name] for name in names}
    return Evaluation(job.seq, fingerprint, job.genotype, job.part, "done", values, measurement.extra)


def _told(
    archive: Archive,
    genotype: Genotype,
    text: str,
    objectives: Mapping[str, Part],
    fingerprints: Mapping[Part, str],
) -> Told:
    values: dict[str, float] = {}
    for part in set(objectives.values()):
        fact = archive.lookup(fingerprints[part], text)
        assert fact is not None, f"{text} was asked and neither known nor measured"
        values.update(fact.objectives)
    is_whole = all(name in values for name in objectives)
    return Told(genotype, tuple(values[name] for name in objectives) if is_whole else None)
