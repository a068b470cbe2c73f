"""What chance and a linear model of the pixels reach on the silhouettes, beside a pretrained supernet.

Run it from the root of the repository, after `python -m evonas +task=shapes stage=pretrain run=<run>`:

    python benchmarks/shapes.py outputs/<run>

The linear model is ridge regression of the one-hot labels on all pixels, solved in closed form on the
whole training split; of several weight penalties the one that is best on `holdout` is scored on `test`,
the split on which the supernet's largest and smallest subnets are scored too.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from evonas import weights
from evonas.data.base import Split
from evonas.data.synthetic.shapes import Shapes
from evonas.nn.classifier import Classifier
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.pretrain import PRETRAINED
from evonas.supernets.supernet import Supernet
from evonas.tasks.classification import Classification
from evonas.train import validation_panel

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
CPU = torch.device("cpu")


def pixels(source: Shapes, split: Split) -> tuple[Tensor, Tensor]:
    """Every picture of a split as one row, and the labels."""
    data = source.dataset(split)
    data.augment = False
    items = [data[index] for index in range(len(data))]
    return torch.stack([item["image"].flatten() for item in items]), torch.stack(
        [item["label"] for item in items]
    )


def fitted(images: Tensor, labels: Tensor) -> list[Tensor]:
    """Weights (pixels + 1, classes) for every penalty, by the dual solution X'(XX' + pI)^-1 Y."""
    rows = _with_one(images)
    gram, truth = rows @ rows.T, 2 * F.one_hot(labels, Shapes.num_classes).float() - 1
    scale = gram.diagonal().mean()
    unit = torch.eye(len(rows))
    return [rows.T @ torch.linalg.solve(gram + penalty * scale * unit, truth) for penalty in PENALTIES]


def accuracy(model: Tensor, images: Tensor, labels: Tensor) -> float:
    """Top-1."""
    return float(((_with_one(images) @ model).argmax(1) == labels).double().mean())


def _with_one(images: Tensor) -> Tensor:
    return torch.cat([images, torch.ones(len(images), 1)], dim=1)


def probe(source: Shapes) -> float:
    """Top-1 of the linear model on `test`."""
    images, labels = pixels(source, "train")
    held_out = pixels(source, "holdout")
    best = max(fitted(images, labels), key=lambda model: accuracy(model, *held_out))
    print(f"linear model of the pixels: on its own training pictures {accuracy(best, images, labels):.3f}")
    return accuracy(best, *pixels(source, "test"))


def pretrained(run: Path, source: Shapes) -> dict[str, float]:
    """Top-1 on `test` of the largest and the smallest subnet of a run, with inherited weights."""
    from hydra import compose, initialize_config_dir

    from evonas.cli import conf_dir
    from evonas.schema import register

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        net: Supernet = factory.supernet(Setup(compose("config", overrides=["+task=shapes"])))
    net.load_state_dict(weights.load(run / PRETRAINED))
    task, members = Classification(source, Classifier, "shapes"), validation_panel.members(net.space, 0, 0)
    net.eval()
    return {
        each.name: validation_panel.score(lambda x, g=each.genotype: net(x, g), task, "test", 50, CPU)["top1"]  # type: ignore[misc]
        for each in members
    }


def main() -> None:
    """Print the numbers."""
    source = Shapes()
    print(f"chance: {1 / Shapes.num_classes:.3f}", flush=True)
    print(f"linear model of the pixels: {probe(source):.3f}", flush=True)
    if len(sys.argv) > 1:
        for name, value in pretrained(Path(sys.argv[1]), source).items():
            print(f"pretrained supernet, {name}: {value:.3f}")


if __name__ == "__main__":
    main()
