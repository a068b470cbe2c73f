"""EDNAG with survivors by fewest layers and in the published matrix, beside plain EDNAG and NSGA-II, on OFA-toy.

    python benchmarks/ednag_ofa.py outputs/ednag_ofa --seeds 10 --evaluations 340

Error and multiply-adds of MobileNetV3 networks as in benchmarks/ofa.py, or of the functions `top1` and `macs_params` of
the file `--toy`. `free` searches depths, kernels, expansions and 17 image sizes; `fixed` reads 224 pixels, so that a
network is a matrix of 22 rows and 12 words. All methods have one budget; figures are shares of the box of
benchmarks/ofa.py. Every trial is kept in the folder, so the command may be stopped and typed again.
"""

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import kept
import ofa
import trials

from evonas.evaluate.engine import Measurement, Part
from evonas.files import sha256, write_json, write_text
from evonas.report.analysis.indicators import Scale
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.ofa_mbv3.space import ofa_space

PIXELS = 224
SIZES = tuple(range(192, 257, 4))
LOWER, MATRIX = "+search.lower_params=0.3", "+search/encoding=layers,+search.init_valid=0.5"
METHODS = {
    "free": ["random", "nsga2", "ednag", f"ednag,{LOWER}"],
    "fixed": ["random", "nsga2", "ednag", f"ednag,{LOWER}", f"ednag,{MATRIX}", f"ednag,{MATRIX},{LOWER}"],
}
# error in percent and multiply-adds in millions of a decoded genotype
Values = Callable[[Mapping[str, Any]], tuple[float, float]]


def own(chosen: Mapping[str, Any]) -> tuple[float, float]:
    """The values of benchmarks/ofa.py."""
    named = {**chosen, "r": chosen["r1"]}
    return 100.0 - ofa.top1(named), ofa.macs(named)


def from_file(path: Path) -> Values:
    """The values of a file's `top1` and `macs_params`, which take lists of the layers that run."""
    spec = importlib.util.spec_from_file_location("toy", path)
    assert spec is not None and spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)

    def values(chosen: Mapping[str, Any]) -> tuple[float, float]:
        depths = [chosen[f"d{stage}"] for stage in range(1, ofa.STAGES + 1)]
        running = [
            stage * ofa.LAYERS + layer + 1 for stage, depth in enumerate(depths) for layer in range(depth)
        ]
        words = {"ks": [chosen[f"k{at}"] for at in running], "e": [int(chosen[f"e{at}"]) for at in running]}
        network = {"d": depths, **words, "r": chosen["r1"]}
        return 100.0 - toy.top1(network), toy.macs_params(network)[0]

    return values


class Evaluator:
    """Exact and at once."""

    def __init__(self, space: Space, values: Values) -> None:
        self._space, self._values = space, values

    def setup(self) -> None:
        """Nothing to load."""

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """Both objectives."""
        del part
        return Measurement(dict(zip(ofa.NAMES, self._values(self._space.decode(genotype)), strict=True)))


def box(values: Values) -> Scale:
    """From zero to 1.01 times the smallest network's error and the largest one's multiply-adds, at any size."""
    space = ofa_space(resolutions=SIZES)
    small, large = (values(space.decode(each)) for each in (space.smallest(), space.largest()))
    return Scale(ofa.NAMES, (0.0, 0.0), (1.01 * small[0], 1.01 * large[1]))


def main() -> None:
    """Write ednag_ofa.json and ednag_ofa.md below the folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[340])
    parser.add_argument("--problems", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--toy", type=Path, help="a Python file with top1 and macs_params")
    given = parser.parse_args()
    values = own if given.toy is None else from_file(given.toy)
    facts = [sha256(Path(__file__)), sha256(Path(ofa.__file__))]
    facts += [] if given.toy is None else [sha256(given.toy)]
    scale, found = box(values), dict[str, list[float]]()
    rows = []
    for problem in given.problems:
        space = ofa_space(resolutions=SIZES if problem == "free" else (PIXELS,))
        for evaluations in given.evaluations:
            for method in METHODS[problem]:
                name, *changes = method.split(",")
                words = [f"search={name}", f"budget.evaluations={evaluations}", *changes]
                node = trials.composed("+task=nb201", *words).search
                shares = []
                for seed in range(given.seeds):
                    about = (f"ednag_ofa/{problem}", method, seed)
                    run = partial(trials.run, about, node, space, Evaluator(space, values), ofa.NAMES)
                    trial = kept.kept(
                        given.folder / "trials", kept.identity(about, node, "".join(facts)), run
                    )
                    assert trial.asked <= evaluations
                    shares.append(float(trials.worth(trial, scale)[-1]))
                found[f"{problem} {evaluations} {method}"] = shares
                spread = trials.spread_of(shares, lambda share: f"{share:.4f}")
                ends = f"{min(shares):.4f} to {max(shares):.4f}"
                rows.append([problem, method, str(evaluations), spread, ends])
                print(*rows[-1], flush=True)
    table = trials.markdown(["problem", "method", "points", "hypervolume", "seeds"], rows)
    given.folder.mkdir(parents=True, exist_ok=True)
    write_json(given.folder / "ednag_ofa.json", found)
    write_text(given.folder / "ednag_ofa.md", table)
    print(table)


if __name__ == "__main__":
    main()
