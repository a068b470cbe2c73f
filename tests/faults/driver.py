"""A real search in a process of its own, so that tests can kill it at any moment.

Everything is real but the networks: NSGA-II, the loop, the archive and the local engine run as they do under
`stage=search`; `AnalyticEvaluator` stands in for a supernet.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from witnessed import Witnessed

from evonas.archive import Archive
from evonas.evaluate.local import LocalEngine
from evonas.search.loop import search
from evonas.search.nsga import NSGA2
from evonas.space.evonet import evonet_space


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
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """The digest of the archive when the search has ended."""
    space = evonet_space()
    fingerprints = {"shared": "analytic-1"}
    engine = LocalEngine(
        Witnessed(str(options.folder / "events"), seconds=options.seconds),
        workers=options.workers,
        tries=options.tries,
        deadline_s=60,
    )
    archive = Archive.open(
        options.folder / "archive.sqlite", {"seed": options.seed, **fingerprints}, resume=True
    )
    searcher = NSGA2(space, seed=options.seed, population=options.population, evaluations=options.evaluations)
    try:
        search(searcher, engine, archive, space, {"error": "shared", "macs": "shared"}, fingerprints)
        return archive.digest()
    finally:
        engine.close()
        archive.close()


if __name__ == "__main__":
    print(run(options(sys.argv[1:])))
