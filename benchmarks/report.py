"""How large and how quick the report of a long search is, and how often its guesses at parents are right.

    python benchmarks/report.py                       # EvoNAS's 19 200 evaluations, a few minutes
    python benchmarks/report.py --evaluations 960     # seconds

NSGA-II searches the published space on closed forms, every fact goes to an archive as in any search, and one
in five hundred fails. The report is then built twice by `stage=report`'s own code. Because the searcher runs
here, its crossings can be watched: the likely parents that the report reads off the genes are compared with
the true ones, which no archive knows.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evonas import files
from evonas.archive import Archive, Evaluation
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.report.analysis.gene_matrix import GeneMatrix
from evonas.report.analysis.genealogy import Genealogy
from evonas.report.page.html import render
from evonas.report.results import SearchResults
from evonas.report.selection.rules import choose
from evonas.run import Run
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.report import PAGE, gather
from evonas.supernets.evonet.space import evonet_space

SPACE = {"_target_": "evonas.supernets.evonet.space.evonet_space"}
NAMES = ("error", "latency", "macs")
DIMS = [64, 128, 256, 512]
FAILS = 500
RULES = ("knee", "spread:3", "best:latency")

Parents = dict[Genotype, set[Genotype]]


def main() -> None:
    """Build the archive, then the report twice, and print what it took."""
    asked = arguments()
    space = evonet_space()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "long", "synthetic")
        began = now()
        parents = fill(run, space, asked)
        told(f"archive of {asked.evaluations} evaluations", began)
        began = now()
        first = written(run)
        told(f"report of {len(first) / 1e6:.2f} MB", began)
        began = now()
        second = written(run)
        told(f"again, {'the same bytes' if first == second else 'OTHER BYTES'}", began)
        facts = gather(run).results
        assert facts is not None
        print(guesses(facts, space, parents, asked))


def arguments() -> Any:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=19_200)
    parser.add_argument("--population", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checked", type=int, default=400, help="networks whose parents are checked")
    return parser.parse_args()


def now() -> tuple[float, float]:
    """Seconds by the clock on the wall, and by that of this process."""
    return time.perf_counter(), time.process_time()


def told(what: str, began: tuple[float, float]) -> None:
    """Print what was done and for how long."""
    wall, cpu = (after - before for after, before in zip(now(), began, strict=True))
    print(f"{what}: {wall:.1f} s, {cpu:.1f} s of them computing", flush=True)


def fill(run: Run, space: Space, asked: Any) -> Parents:
    """Search, record every fact, and choose; the true parents of every network that was bred."""
    searcher = NSGA2(space, seed=asked.seed, population=asked.population, evaluations=asked.evaluations)
    parents = watched(searcher)
    identity = {
        "space": SPACE,
        "seed": asked.seed,
        "searcher": {"_target_": "evonas.search.evolution.nsga2.NSGA2", "population": asked.population},
        "objectives": list(NAMES),
        "units": {"latency": "ms", "macs": "GMAC"},
        "fingerprints": {"shared": "closed-forms"},
        "reference": [2.0, 2.0, 2.0],
    }
    files.write_json(run.path("run.json"), {"network": {"dims": DIMS}, "seed": asked.seed})
    with Archive.open(run.path("search/archive.sqlite"), identity, resume=False) as archive:
        for fact, seconds in searched(searcher, space):
            archive.record(fact, seconds)
    facts = gather(run).results
    assert facts is not None
    chosen = [
        {
            "name": choice.name,
            "genotype": facts.genotypes[choice.row],
            "objectives": facts.objectives(choice.row),
            "reason": choice.reason,
        }
        for choice in choose(facts, RULES)
    ]
    files.write_json(run.path("selected.json"), {"error_name": "error", "nets": chosen})
    return parents


def searched(searcher: NSGA2, space: Space) -> Iterator[tuple[Evaluation, float]]:
    """The facts of a whole search, each with the time that it is said to have taken."""
    form = AnalyticEvaluator(space, NAMES)
    form.setup()
    seq = 0
    while asked := searcher.ask():
        told = []
        for point in asked:
            values = form.values(point) if seq % FAILS != FAILS - 1 else None
            yield fact(seq, space.format(point), values), 1.5
            told.append(Observation(point, values and tuple(values[name] for name in NAMES)))
            seq += 1
        searcher.tell(told)


def fact(seq: int, text: str, values: Mapping[str, float] | None) -> Evaluation:
    """One record of the archive."""
    if values is None:
        return Evaluation(seq, "closed-forms", text, "shared", "failed", reason="timeout after 3 tries")
    return Evaluation(seq, "closed-forms", text, "shared", "done", values)


def watched(searcher: NSGA2) -> Parents:
    """Fills up, while the searcher breeds, with the two parents of each network."""
    found: Parents = {}
    crossover, ask = searcher._pymoo.mating.crossover, searcher._next_generation
    plain = crossover.do

    def do(problem: Any, pop: Any, *args: Any, **kwargs: Any) -> Any:
        children = plain(problem, pop, *args, **kwargs)
        # first the first child of every pair, then every second child
        for place, child in enumerate(children):
            child.set("parents", [parent.X for parent in pop[place % len(pop)]])
        return children

    def next_generation() -> Any:
        bred = ask()
        for child in bred:
            vectors = child.data.get("parents", ())
            found[point(searcher, child.X)] = {point(searcher, each) for each in vectors}
        return bred

    crossover.do, searcher._next_generation = do, next_generation  # type: ignore[method-assign]
    return found


def point(searcher: NSGA2, vector: Any) -> Genotype:
    """A row of pymoo's matrix as a genotype."""
    return Genotype(searcher._space.name, tuple(np.asarray(vector).tolist()))


def written(run: Run) -> bytes:
    """The page, as `stage=report` writes it."""
    files.write_text(run.path(PAGE), render(gather(run)))
    return run.path(PAGE).read_bytes()


def guesses(facts: SearchResults, space: Space, parents: Parents, asked: Any) -> str:
    """How often the nearest earlier network was a parent, and how often both parents were found."""
    genome = GeneMatrix.of(space, facts.genotypes)
    assert genome is not None
    rows = np.unique(np.linspace(asked.population, len(facts.values) - 1, asked.checked).astype(int))
    kinship, one, both, bred = Genealogy(facts, genome), 0, 0, 0
    for row in rows.tolist():
        true = parents.get(space.parse(facts.genotypes[row]), set())
        if not true:
            continue
        found = kinship.of(row)
        named = {space.parse(facts.genotypes[at]) for at in (found.nearest, found.mate) if at is not None}
        nearest = space.parse(facts.genotypes[found.nearest]) if found.nearest is not None else None
        bred, one, both = bred + 1, one + (nearest in true), both + (true <= named)
    return (
        f"of {bred} bred networks the likeliest parent was one of {one / max(1, bred):.0%}, "
        f"and both parents were named for {both / max(1, bred):.0%}"
    )


if __name__ == "__main__":
    main()
