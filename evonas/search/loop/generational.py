"""Generational search loop: ask, evaluate or look up, record, tell. A resumed search replays the archive."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evonas import fault_injection
from evonas.archive import Archive, Evaluation
from evonas.evaluate.engine import Engine, Outcome, Part
from evonas.search.base import Observation, Searcher
from evonas.search.loop.evaluation import CachedEngine, Fidelity, Full
from evonas.space.space import Space

FULL = Full()


@dataclass(frozen=True, slots=True)
class Generation:
    """Progress after one batch.

    Args:
        number: index of the batch, from 1.
        told: observations of the batch.
        evaluations: points told since the start of the search.
        failures: failed points since the start of the search.
        measured: evaluations that this process computed rather than looked up.
    """

    number: int
    told: tuple[Observation, ...]
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
    before: Callable[[CachedEngine], None] | None = None,
) -> int:
    """Run the searcher until it is finished; returns the number of points told.

    Archived evaluations are not repeated, so a killed search that is restarted with the same searcher asks
    the same points, replays the archive and continues.

    Args:
        searcher: in its initial state; a resumed search replays it from its seed.
        objectives: objective name -> part that measures it, in the order of the objective vectors.
        fingerprints: fingerprint of each part.
        on_generation: called after each batch.
        on_outcome: called after each new evaluation is recorded.
        fidelity: decides on how many images each point is evaluated; in its initial state.
        before: called once before the first batch, for instance to measure failed evaluations again.

    Raises:
        EngineError: the engine loses a job or cannot work.
    """
    cached = CachedEngine(engine, archive, space, objectives, fingerprints, on_outcome)
    if before is not None:
        before(cached)
    number = evaluations = failures = 0
    while asked := searcher.ask():
        told = fidelity.evaluate(asked, evaluations, cached)
        searcher.tell(told)
        fault_injection.point("search.after_tell")
        number, evaluations = number + 1, evaluations + len(told)
        failures += sum(each.objectives is None for each in told)
        if on_generation is not None:
            on_generation(Generation(number, tuple(told), evaluations, failures, cached.measured))
    return evaluations
