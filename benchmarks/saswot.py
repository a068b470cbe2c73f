"""SasWOT end to end on CamVid: networks chosen by its proxy, by NWOT and at random, trained alike.

    python benchmarks/saswot.py <folder of CamVid> --outputs outputs/saswot
    python benchmarks/saswot.py --table

With every seed, FasterSeg's matrices are evolved twice in SasWOT's space at a quarter of the published width, once by
SasWOT's score and once by NWOT, within one window of multiply-adds; random is the first network that the evolutions
draw. The three are trained from random weights by one recipe, with the losses of +experiment=saswot_camvid and without
a teacher, and tested once. Answers are kept in benchmarks/answers/saswot by seed; what is there is not trained again.
`--table` prints the table of those that are there.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trials import composed, kept, markdown, spread_of

from evonas import files
from evonas.proxies.scorer import Scorer
from evonas.randomness import derive, generator
from evonas.search.base import Observation
from evonas.search.evolution.matrices import Groups, MatrixEvolution
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.build.setup import Setup
from evonas.supernets.base import cost
from evonas.supernets.fasterseg.matrix_encoding import FasterSegMatrices
from evonas.supernets.static_net import StaticNet, static_net

ANSWERS = Path(__file__).parent / "answers/saswot"
# test mIoU in percent, of table 4 of Dong et al. (SasWOT, AAAI 2024)
PUBLISHED = {"saswot": 64.3, "nwot": 62.2, "random": 62.2}
SIZE = 128, 192
CLASSES = 11
# multiply-adds at that size, head included: the middle of random networks, of which 90 % have 20.7 to 24.2 million
WINDOW = 21.8e6, 22.8e6


def main() -> None:
    """Search, train and test what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camvid", type=Path, nargs="?")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/saswot"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--evaluations", type=int, default=60, help="networks that an evolution scores")
    parser.add_argument(
        "--references", type=int, default=20, help="random networks that give scores their range"
    )
    parser.add_argument("--answers", type=Path, default=ANSWERS)
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.table:
        if given.camvid is None:
            parser.error("the folder of CamVid is missing")
        for seed in given.seeds:
            kept(given.answers / f"seed-{seed}.json", lambda seed=seed: answer(given, seed))
    print(table(given.answers))


def answer(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Choose the networks of a seed, train and test them."""
    words, started = recipe(given, seed), time.monotonic()
    chosen = Chooser(Setup(composed(*words)), seed, given.references).chosen(given.evaluations)
    searched, run = time.monotonic() - started, f"seed-{seed}"
    if not (given.outputs / run / "evaluate/test.json").exists():
        # quoted, since the commas of their words would separate networks
        texts = ",".join(dict.fromkeys(f"'{each['genotype']}'" for each in chosen.values()))
        place = [f"networks=[{texts}]", f"outputs={given.outputs}", f"run={run}", "resume=true"]
        subprocess.run([sys.executable, "-m", "evonas", *words, *place], check=True)
    tested = {
        net["genotype"]: net for net in files.read_json(given.outputs / run / "evaluate/test.json")["nets"]
    }
    for each in chosen.values():
        net = tested[each["genotype"]]
        trained = files.read_json(given.outputs / run / f"retrain/{net['name']}/result.json")
        each |= {key: net[key] for key in ("params", "macs")}
        each |= {"validation": trained["retrained"]["miou"], "test": net["retrained"]["miou"]}
        each |= {"steps": trained["steps"], "training_seconds": trained["seconds"]}
    about = {key: getattr(given, key) for key in ("epochs", "evaluations", "references")}
    return {"seed": seed, **about, "search_seconds": round(searched, 1), "networks": chosen}


def recipe(given: argparse.Namespace, seed: int) -> list[str]:
    """The experiment on small images for few epochs; AdamW, because the published rates are those of long trainings."""
    return [
        "+experiment=saswot_camvid",
        "network=fasterseg_nano",
        "space=fasterseg_saswot",
        "sampler=none",
        "distill=none",
        f"data.root={given.camvid}",
        f"data.height={SIZE[0]}",
        f"data.width={SIZE[1]}",
        f"train.retrain.epochs={given.epochs}",
        "train.retrain.optimizer=adamw",
        "train.retrain.lr=2.0e-3",
        "train.retrain.schedule=cosine",
        "train.retrain.decay=matrices",
        "train.retrain.weight_decay=0.05",
        "train.retrain.warmup_epochs=0.5",
        f"seed={seed}",
        "hardware.engine=inline",
        "tracker=none",
        "~stage.steps.export",
    ]


class Chooser:
    """Chooses networks within the window by random weights and random images.

    Args:
        setup: task, space and family.
        seed: of searches, weights, images and references.
        references: number of random networks that give the parts of SasWOT's score their range.
    """

    def __init__(self, setup: Setup, seed: int, references: int) -> None:
        self.setup, self.space, self.seed = setup, setup.space, seed
        self.matrices = InWindow(self._macs)
        self.scorers = {
            name: Scorer(name, (8, 3, *SIZE), seed, self._reference, references)
            for name in ("saswot", "nwot")
        }

    def chosen(self, evaluations: int) -> dict[str, dict[str, Any]]:
        """The network of each method: its text, and its scores."""
        found = {name: self._searched(scorer, evaluations) for name, scorer in self.scorers.items()}
        found["random"] = self._evolution(1).ask()[0]
        return {
            method: {
                "genotype": self.space.format(point),
                "scores": {
                    name: scorer.score(self._untrained(point))[0] for name, scorer in self.scorers.items()
                },
            }
            for method, point in found.items()
        }

    def _evolution(self, evaluations: int) -> MatrixEvolution:
        return MatrixEvolution(
            self.space, self.seed, min(evaluations, 15), evaluations, self.matrices, keep=5
        )

    def _searched(self, scorer: Scorer, evaluations: int) -> Genotype:
        """The best of the networks that an evolution asks for."""
        evolution, scores = self._evolution(evaluations), dict[Genotype, float]()
        while asked := evolution.ask():
            scores |= {point: scorer.score(self._untrained(point))[0] for point in asked}
            evolution.tell([Observation(point, (-scores[point],)) for point in asked])
        return max(scores, key=lambda point: scores[point])

    def _macs(self, genotype: Genotype) -> int:
        family: Any = self.setup.family
        return int(cost(family, genotype, SIZE).macs + family.head_cost(genotype, SIZE, CLASSES).macs)

    def _untrained(self, genotype: Genotype) -> StaticNet:
        head = self.setup.task.head(self.setup.family.levels)
        return static_net(self.setup.family, head, genotype, derive(self.seed, "saswot/weights"))

    def _reference(self, number: int) -> StaticNet:
        return self._untrained(self.space.sample(generator(self.seed, "saswot/references", number)))


class InWindow(FasterSegMatrices):
    """Matrices whose networks have multiply-adds within the window; others say nothing."""

    def __init__(self, macs: Callable[[Genotype], int]) -> None:
        self.macs = macs

    def decode(self, space: Space, groups: Groups) -> Genotype | None:
        """The network; None without the window."""
        found = super().decode(space, groups)
        return found if found is not None and WINDOW[0] <= self.macs(found) <= WINDOW[1] else None


def table(answers: Path) -> str:
    """Test mIoU of every seed, its spread, and the published one."""
    found = sorted((files.read_json(path) for path in answers.glob("*.json")), key=lambda each: each["seed"])
    rows: list[Sequence[str]] = []
    for method, published in PUBLISHED.items():
        own = [each["networks"][method] for each in found]
        tests = [100 * each["test"] for each in own]
        rows.append(
            [
                method,
                _each(own, "macs", 1e-6),
                _each(own, "params", 1e-3, 0),
                spread_of([100 * each["validation"] for each in own], _percent),
                ", ".join(map(_percent, tests)),
                spread_of(tests, _percent),
                _percent(published),
            ]
        )
    columns = "chosen by", "MMAC", "thousand parameters", "validation", "test by seed", "test", "published"
    return markdown(columns, rows) if found else "No answers yet."


def _each(own: Sequence[Mapping[str, Any]], key: str, scale: float, digits: int = 1) -> str:
    return ", ".join(f"{np.round(each[key] * scale, digits):.{digits}f}" for each in own)


def _percent(value: float) -> str:
    return f"{value:.1f}"


if __name__ == "__main__":
    main()
