"""SasWOT end to end on CamVid: networks chosen by its proxy, by NWOT and at random, trained alike.

    python benchmarks/saswot.py <folder of CamVid> --outputs outputs/saswot --epochs 40
    python benchmarks/saswot.py --table

Every method and seed is a run of its own: a search in SasWOT's space at a quarter of the published width, within one
window of multiply-adds; the network with the best score is trained from random weights by the recipe of
+experiment=saswot_camvid, whose rate falls as far in the epochs given as it does in 80, and tested once. Random is the
first network that the same search draws. Answers are kept in benchmarks/answers/saswot, by method and seed; what is
there is not trained again. `--table` prints the table of docs/results.md.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trials import kept, markdown, spread_of

from evonas import files

ANSWERS = Path(__file__).parent / "answers/saswot"
# of the test split in percent, in table 4 of Dong et al. (SasWOT, AAAI 2024)
PUBLISHED = {"saswot": 64.3, "nwot": 62.2, "random": 62.2}
# share of the first rate that is left after the recipe's 80 epochs
LAST_RATE = 0.96**80
SIZE = 128, 192
# multiply-adds in 10^9 at that size, head included: the middle of random networks, of which 90 % have 20.7 to 24.2 M
WINDOW = 0.0218, 0.0228


def main() -> None:
    """Search, train and test what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camvid", type=Path, nargs="?")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/saswot"))
    parser.add_argument("--methods", nargs="+", choices=tuple(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--evaluations", type=int, default=200, help="networks that a search scores")
    parser.add_argument("--answers", type=Path, default=ANSWERS)
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    if not given.table:
        if given.camvid is None:
            parser.error("the folder of CamVid is missing")
        for seed in given.seeds:
            for method in given.methods:
                answered(given, method, seed)
    print(table(given.answers))


def answered(given: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """What a method's network of a seed reaches."""
    return kept(given.answers / f"{method}-{seed}.json", lambda: answer(given, method, seed))


def answer(given: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """Search with a method and a seed, train the network that it chooses, and test it."""
    run, started = given.outputs / f"{method}-{seed}", time.monotonic()
    if not (run / "evaluate/test.json").exists():
        words = [*recipe(given, seed), *search(method, given.evaluations)]
        place = [f"outputs={given.outputs}", f"run={run.name}", "resume=true"]
        subprocess.run([sys.executable, "-m", "evonas", *words, *place], check=True)
    chosen = files.read_json(run / "selected.json")["nets"][0]
    trained = files.read_json(run / f"retrain/{chosen['name']}/result.json")
    tested = next(
        net for net in files.read_json(run / "evaluate/test.json")["nets"] if net["name"] == chosen["name"]
    )
    return {
        "method": method,
        "seed": seed,
        "epochs": given.epochs,
        "evaluations": 1 if method == "random" else given.evaluations,
        "genotype": tested["genotype"],
        "params": tested["params"],
        "macs": tested["macs"],
        "score": -chosen["objectives"]["zero_cost"],
        "validation": trained["retrained"],
        "test": tested["retrained"],
        "training_seconds": trained["seconds"],
        "seconds": round(time.monotonic() - started, 1),
    }


def recipe(given: argparse.Namespace, seed: int) -> list[str]:
    """The experiment on small images, the same for all methods."""
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
        f"train.retrain.gamma={LAST_RATE ** (1 / given.epochs):.5f}",
        f"seed={seed}",
        "hardware.engine=inline",
        "tracker=none",
        "~stage.steps.export",
    ]


def search(method: str, evaluations: int) -> list[str]:
    """How a method chooses; random is the first network that the search of the others draws."""
    count = 1 if method == "random" else evaluations
    return [
        "search=constrained",
        f"+search.windows.macs=[{WINDOW[0]},{WINDOW[1]}]",
        "+search/analytic_objectives=macs",
        "search.corners=false",
        f"budget.population={min(count, 40)}",
        f"budget.evaluations={count}",
        f"objective.zero_cost.proxy={'nwot' if method == 'random' else method}",
        f"objective.zero_cost.size=[{SIZE[0]},{SIZE[1]}]",
        "objective.zero_cost.seed=${seed}",
        "select.rules=[best:zero_cost]",
    ]


def table(answers: Path) -> str:
    """Test mIoU of every seed, its spread, and the published order."""
    found = [files.read_json(path) for path in sorted(answers.glob("*.json"))]
    rows: list[Sequence[str]] = []
    for method, published in PUBLISHED.items():
        own = sorted((each for each in found if each["method"] == method), key=lambda each: each["seed"])
        if own:
            each_seed, validation = (
                [100 * each[split]["miou"] for each in own] for split in ("test", "validation")
            )
            rows.append(
                [
                    method,
                    ", ".join(f"{each['macs'] / 1e6:.1f}" for each in own),
                    ", ".join(f"{each['params'] / 1e3:.0f}" for each in own),
                    spread_of(validation, _percent),
                    ", ".join(map(_percent, each_seed)),
                    spread_of(each_seed, _percent),
                    _percent(published),
                ]
            )
    columns = (
        "chosen by",
        "MMAC",
        "thousand parameters",
        "validation mIoU",
        "test mIoU by seed",
        "test mIoU",
        "published",
    )
    return markdown(columns, rows)


def _percent(value: float) -> str:
    return re.sub(r"\A-0\.0\Z", "0.0", f"{value:.1f}")


if __name__ == "__main__":
    main()
