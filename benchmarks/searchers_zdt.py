"""ZDT1, ZDT2 and DTLZ2 on a declared space: do the evolutionary searchers converge?

    python benchmarks/searchers_zdt.py outputs/zdt --methods nsga2 nsga3 --seeds 5 --evaluations 10000

Real variables become axes of 256 choices from 0 to 1 (30 of them for ZDT, 12 for DTLZ2): searchers know
declared spaces only, so this is what a user's space would look like. Both ends of each variable are choices;
the grid of the first one costs about 0.002 of hypervolume. References are 1.1 for every objective (exact
hypervolumes 0.876667, 0.543333 and 0.807401). Everything that was found counts, as in an archive; operators
are those of conf/search, and generations have 40 points as on the tables (`nsga2,budget.population=100` for
others). Zitzler, Deb and Thiele, "Comparison of multiobjective evolutionary algorithms", 2000; Deb et al.,
"Scalable multi-objective optimization test problems", 2002.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import moocore
import numpy as np
import trials

from evonas import config
from evonas.search.base import Observation, Searcher
from evonas.space.space import Axis, Space

CHOICES = 256
REFERENCE = 1.1
POPULATION = 40
Function = Callable[[np.ndarray], tuple[float, ...]]


def zdt1(x: np.ndarray) -> tuple[float, ...]:
    """A convex front at x_2 = ... = x_n = 0."""
    rest = 1 + 9 * float(x[1:].mean())
    return float(x[0]), rest * (1 - (float(x[0]) / rest) ** 0.5)


def zdt2(x: np.ndarray) -> tuple[float, ...]:
    """A concave front at x_2 = ... = x_n = 0."""
    rest = 1 + 9 * float(x[1:].mean())
    return float(x[0]), rest * (1 - (float(x[0]) / rest) ** 2)


def dtlz2(x: np.ndarray) -> tuple[float, ...]:
    """An eighth of a sphere; the distance variables are best at the choice nearest to a half."""
    # an even number of choices holds no exact half, so the optimum is put on one of them
    radius = 1 + float(((x[2:] - round((CHOICES - 1) / 2) / (CHOICES - 1)) ** 2).sum())
    first, second = x[:2] * np.pi / 2
    return (
        radius * float(np.cos(first) * np.cos(second)),
        radius * float(np.cos(first) * np.sin(second)),
        radius * float(np.sin(first)),
    )


PROBLEMS: dict[str, tuple[Function, int, float]] = {
    "zdt1": (zdt1, 30, 0.876667),
    "zdt2": (zdt2, 30, 0.543333),
    "dtlz2": (dtlz2, 12, 0.807401),
}


def discretised(variables: int) -> Space:
    """A space with one axis of evenly spaced choices for each variable."""
    choices = tuple(float(value) for value in np.linspace(0.0, 1.0, CHOICES))
    return Space("real", tuple(Axis(f"x{number}", choices) for number in range(1, variables + 1)))


def searcher(method: str, space: Space, seed: int, evaluations: int) -> Searcher:
    """A file of conf/search, perhaps with settings after commas."""
    name, *changes = method.split(",")
    sizes = (f"budget.evaluations={evaluations}", f"budget.population={POPULATION}")
    node = trials.composed("+task=synthetic", f"search={name}", *sizes, *changes).search
    built: Searcher = config.build(node, space=space, seed=seed)
    return built


def hypervolume(problem: str, method: str, seed: int, evaluations: int) -> float:
    """Of everything one searcher found."""
    function, variables, _ = PROBLEMS[problem]
    space = discretised(variables)
    asking, found = searcher(method, space, seed, evaluations), []
    while asked := asking.ask():
        told = [Observation(point, function(np.array(point.genes) / (CHOICES - 1))) for point in asked]
        asking.tell(told)
        found += [fact.objectives for fact in told]
    values = np.array(found)
    return float(moocore.hypervolume(values, ref=np.full(values.shape[1], REFERENCE)))


def main() -> None:
    """Write zdt.json below the folder, and print a line per problem and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=["nsga2", "nsga3"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=10_000)
    given = parser.parse_args()
    results: dict[str, list[float]] = {}
    for problem in given.problems:
        for method in given.methods:
            began = time.monotonic()
            found = [hypervolume(problem, method, seed, given.evaluations) for seed in range(given.seeds)]
            results[f"{problem}/{method}"] = found
            seconds = (time.monotonic() - began) / given.seeds
            each = " ".join(f"{value:.4f}" for value in found)
            print(
                f"{problem} {method}: {each} (exact {PROBLEMS[problem][2]}), {seconds:.0f} s a seed",
                flush=True,
            )
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "zdt.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
