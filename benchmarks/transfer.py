"""Does a network that was found for depth serve for surface normals, and is its training worth taking along?

Searches on +task=synthetic (depth) and on +task=normals, then trains on normals by one recipe: the knee of
depth from scratch and from its retrained backbone, the knee of normals from scratch, and random networks from
scratch that cost what the knee of depth costs. Errors are angles on the test split.

    python benchmarks/transfer.py --outputs /tmp/transfer                  # about a quarter of an hour
    python benchmarks/transfer.py --outputs /tmp/transfer --epochs 12 --random 5
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from evonas import files
from evonas.randomness import generator
from evonas.space.space import Space
from evonas.supernets.base import cost
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space

CONF = Path(__file__).parent.parent / "conf"
# relative difference in multiply-adds at which two networks count as equal
NEAR = 0.03
SIZE = 64, 96


def main() -> None:
    """Run what is missing, then print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--random", type=int, default=3)
    given = parser.parse_args()
    for task in ("synthetic", "normals"):
        evonas(given.outputs, task, f"+task={task}", "network=nano", "distill=none", "objective=[error,macs]")
    texts = {task: chosen(given.outputs, task) for task in ("synthetic", "normals")}
    named = {"knee of depth": texts["synthetic"], "knee of normals": texts["normals"]}
    for number, text in enumerate(of_equal_cost(texts["synthetic"], given.random), start=1):
        named[f"random {number} of the cost of the knee of depth"] = text
    recipe = ("+task=normals", "distill=none", f"train.retrain.epochs={given.epochs}")
    listed = ",".join(named.values())
    evonas(given.outputs, "scratch", *recipe, f"networks=[{listed}]", "transfer=false")
    evonas(given.outputs, "transferred", *recipe, "networks=run:synthetic#knee")
    for label, angle in zip(named, angles(given.outputs, "scratch"), strict=True):
        print(f"{label}, from scratch: {angle:.2f} degrees, {gigamacs(space(), named[label]):.4f} GMAC")
    print(f"knee of depth, its backbone taken along: {angles(given.outputs, 'transferred')[0]:.2f} degrees")


def evonas(outputs: Path, run: str, *words: str) -> None:
    """A whole run without export; one that is done is left as it is."""
    if not (outputs / run / "evaluate/test.json").exists():
        more = [f"outputs={outputs}", f"run={run}", "resume=true", "~stage.steps.export"]
        subprocess.run([sys.executable, "-m", "evonas", *words, *more], check=True)


def chosen(outputs: Path, run: str) -> str:
    """The genotype of a run's knee."""
    nets = files.read_json(outputs / run / "selected.json")["nets"]
    return next(str(net["genotype"]) for net in nets if net["name"] == "knee")


def angles(outputs: Path, run: str) -> Sequence[float]:
    """Test errors of a run's retrained networks, in the order in which they were given."""
    nets = files.read_json(outputs / run / "evaluate/test.json")["nets"]
    return [float(net["retrained"]["angle"]) for net in nets]


def of_equal_cost(text: str, count: int) -> list[str]:
    """Random networks whose backbones cost what this one costs."""
    of, found, wanted, number = space(), list[str](), gigamacs(space(), text), 0
    while len(found) < count:
        drawn = of.format(of.sample(generator(0, "transfer", number)))
        number += 1
        if drawn != text and abs(gigamacs(of, drawn) / wanted - 1) < NEAR:
            found.append(drawn)
    return found


def space() -> Space:
    """The space of both tasks."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / "space/nano.yaml"))
    assert isinstance(node, dict)
    return evonet_space(**{str(key): value for key, value in node.items() if key != "_target_"})


def gigamacs(of: Space, text: str) -> float:
    """Multiply-adds of the backbone in 10^9."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / "network/nano.yaml"))
    assert isinstance(node, dict)
    sizes = {str(key): value for key, value in node["network"].items() if key not in ("_target_", "space")}
    return cost(EvoNet(of, **sizes), of.parse(text), SIZE).macs / 1e9


if __name__ == "__main__":
    main()
