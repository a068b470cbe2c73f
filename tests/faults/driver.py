"""A real search in a process of its own, so that tests can kill it at any moment.

Everything is real but the networks: NSGA-II, the loop, the archive and the local engine run as they do under
`stage=search`; `AnalyticEvaluator` stands in for a supernet.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sampled import Sampled
from witnessed import Witnessed, WitnessedTogether

from evonas.archive import Archive
from evonas.evaluate.engine import Part
from evonas.evaluate.local import LocalEngine
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.asynchronous import asynchronous_search
from evonas.search.loop.evaluation import Fidelity, Full
from evonas.search.loop.generational import search
from evonas.search.loop.racing import Racing
from evonas.supernets.evonet.space import evonet_space


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of the driver."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--population", type=int, default=24)
    parser.add_argument("--evaluations", type=int, default=480)
    parser.add_argument("--seconds", type=float, default=0.01)
    # asynchronous, with so many points in flight; 0 goes generation by generation
    parser.add_argument("--in-flight", type=int, default=0)
    # one pass over several genotypes, at most so many
    parser.add_argument("--together", type=int, default=0)
    # growing parts of a split of images, in place of one measurement a point
    parser.add_argument("--racing", action="store_true")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """The digest of the archive when the search has ended."""
    space = evonet_space()
    fingerprints: dict[Part, str] = {"shared": "shared-all" if options.racing else "analytic-1"}
    parts: dict[str, Part] = {"error": "shared", "macs": "shared"}
    witness = WitnessedTogether if options.together else Witnessed
    events = str(options.folder / "events")
    sampled = Sampled(events=events)
    engine = LocalEngine(
        sampled if options.racing else witness(events, seconds=options.seconds),
        workers=options.workers,
        tries=options.tries,
        deadline_s=60,
        subnets_per_pass=options.together or 1,
    )
    fidelity: Fidelity = Racing() if options.racing else Full()
    identity = {
        **fidelity.prepare(sampled),
        "seed": options.seed,
        "in_flight": options.in_flight,
        **fingerprints,
    }
    archive = Archive.open(options.folder / "archive.sqlite", identity, resume=True)
    searcher = NSGA2(space, seed=options.seed, population=options.population, evaluations=options.evaluations)
    question = (searcher, engine, archive, space, parts, fingerprints)
    try:
        if options.in_flight:
            asynchronous_search(*question, options.in_flight, options.population)
        else:
            search(*question, fidelity=fidelity)
        return archive.digest()
    finally:
        engine.close()
        archive.close()


if __name__ == "__main__":
    print(run(options(sys.argv[1:])))
