"""The search: ask, look up or measure, record, tell. Resuming is replaying the same code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evonas import fault_injection
from evonas.archive import Archive, Evaluation
from evonas.evaluate.engine import Engine, Outcome, Part
from evonas.search.base import Searcher, Told
from evonas.search.loop.evaluation import Fidelity, Full, Measuring
from evonas.space.space import Space

FULL = Full()


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
    fidelity: Fidelity = FULL,
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
        fidelity: how exactly the points of a batch are measured; fresh, as it is replayed too.

    Raises:
        EngineError: if the engine loses a job or cannot work.
    """
    measuring = Measuring(engine, archive, space, objectives, fingerprints, on_outcome)
    number = evaluations = failures = 0
    while asked := searcher.ask():
        told = fidelity.told(asked, evaluations, measuring)
        searcher.tell(told)
        fault_injection.point("search.after_tell")
        number, evaluations = number + 1, evaluations + len(told)
        failures += sum(fact.objectives is None for fact in told)
        if on_generation is not None:
            on_generation(Generation(number, tuple(told), evaluations, failures, measuring.measured))
    return evaluations
