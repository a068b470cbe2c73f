"""The search: ask, look up or measure, record, tell. Resuming is replaying the same code."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

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
        facts = _known(archive, texts, fingerprints, parts)
        jobs = _missing(facts, texts, parts, evaluations)
        for outcome in _measure(jobs, engine):
            fact = archive.record(_fact(outcome, objectives, fingerprints), outcome.seconds, outcome.worker)
            facts[fact.genotype, outcome.job.part] = fact
            if on_outcome is not None:
                on_outcome(outcome, fact)
        told = [_told(g, text, facts, objectives) for g, text in zip(asked, texts, strict=True)]
        searcher.tell(told)
        faults.point("search.after_tell")
        number, evaluations, measured = number + 1, evaluations + len(told), measured + len(jobs)
        failures += sum(fact.objectives is None for fact in told)
        if on_generation is not None:
            on_generation(Generation(number, tuple(told), evaluations, failures, measured))
    return evaluations


def _known(
    archive: Archive, texts: list[str], fingerprints: Mapping[Part, str], parts: list[Part]
) -> dict[tuple[str, Part], Evaluation]:
    looked_up = (
        (text, part, archive.lookup(fingerprints[part], text)) for text in set(texts) for part in parts
    )
    return {(text, part): fact for text, part, fact in looked_up if fact is not None}


def _missing(
    facts: Mapping[tuple[str, Part], Evaluation], texts: list[str], parts: list[Part], offset: int
) -> list[Job]:
    """A job for each fact that is missing, once; `seq` counts all facts of all points asked."""
    jobs: dict[tuple[str, Part], Job] = {}
    for index, text in enumerate(texts, start=offset):
        for place, part in enumerate(parts):
            if (text, part) not in facts:
                jobs.setdefault((text, part), Job(index * len(parts) + place, text, part))
    return list(jobs.values())


def _measure(jobs: list[Job], engine: Engine) -> Iterator[Outcome]:
    """The engine's outcomes; an EngineError if it did not answer every job."""
    waiting = {job.seq for job in jobs}
    for outcome in engine.run(jobs) if jobs else ():
        yield outcome
        waiting.discard(outcome.job.seq)
    if waiting:
        raise EngineError(f"The engine lost {len(waiting)} of {len(jobs)} jobs.", "Repeat with resume=true")


def _fact(outcome: Outcome, objectives: Mapping[str, Part], fingerprints: Mapping[Part, str]) -> Evaluation:
    job, measurement = outcome.job, outcome.measurement
    failed = Evaluation(job.seq, fingerprints[job.part], job.genotype, job.part, "failed")
    if measurement is None:
        return replace(failed, reason=outcome.reason or "no reason was given")
    names = [name for name, part in objectives.items() if part == job.part]
    missing = [name for name in names if name not in measurement.objectives]
    if missing:
        return replace(failed, reason=f"objective {missing[0]} was not measured")
    values = {name: measurement.objectives[name] for name in names}
    return replace(failed, state="done", objectives=values, extra=measurement.extra)


def _told(
    genotype: Genotype,
    text: str,
    facts: Mapping[tuple[str, Part], Evaluation],
    objectives: Mapping[str, Part],
) -> Told:
    measured = [facts[text, part].objectives.get(name) for name, part in objectives.items()]
    values = tuple(value for value in measured if value is not None)
    return Told(genotype, values if len(values) == len(measured) else None)
