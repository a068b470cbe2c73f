"""A run as earlier stages would have left it: real parts, tiny data, weights straight from the seed."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from evonas import files, weights
from evonas.archive import Archive, Evaluation
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.randomness import generator
from evonas.run import Run
from evonas.schema import Hardware, Select, Train
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.supernets.supernet import extract

NAMES = ("error", "macs")
FINGERPRINTS = {"shared": "f0"}
DATA = {
    "_target_": "evonas.data.synthetic.scenes.SyntheticScenes",
    "train": 8,
    "validation": 4,
    "test": 6,
    "height": 32,
    "width": 64,
}
HEAD = {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True, "width": 8}


def config(**changes: Any) -> Any:
    """The smallest config that the stages after the search read."""
    return OmegaConf.create(
        {
            "seed": 3,
            "space": {
                "_target_": "evonas.supernets.evonet.space.evonet_space",
                "name": "tiny",
                "depths": [1, 1, 2, 1],
            },
            "network": {
                "_target_": "evonas.supernets.evonet.family.EvoNet",
                "dims": [8, 8, 16, 16],
                "heads": [2, 2, 2, 2],
                "stem_dim": 8,
                "stem_ratio": 1.0,
                "merge_ratio": 1.0,
            },
            "task": {
                "_target_": "evonas.tasks.depth.Depth",
                "name": "synthetic",
                "data": DATA,
                "head": HEAD,
                "max_depth": 20.0,
            },
            "teacher": None,
            "distill": None,
            "hardware": OmegaConf.structured(Hardware),
            "select": OmegaConf.structured(Select),
            "train": OmegaConf.structured(Train(bn_calibration_images=4)),
            **changes,
        }
    )


def context(folder: Path, **changes: Any) -> Context:
    """A context in an empty run."""
    folder.mkdir(parents=True, exist_ok=True)
    return Context(config(**changes), Run(folder, "synthetic"))


def search(made: Context, count: int = 60) -> None:
    """Fill the archive with closed-form facts about sampled networks, one of them failed."""
    space = made.setup.space
    measuring = AnalyticEvaluator(space, NAMES)
    measuring.setup()
    identity = {
        "space": space.name,
        "objectives": list(NAMES),
        "units": {"macs": "GMAC"},
        "fingerprints": FINGERPRINTS,
        "reference": [2.0, 2.0],
    }
    texts = dict.fromkeys(space.format(space.sample(generator(0, "test", number))) for number in range(count))
    with Archive.open(made.run.path("search/archive.sqlite"), identity, resume=False) as archive:
        for seq, text in enumerate(texts):
            found = measuring.measure(space.parse(text), "shared").objectives
            archive.record(Evaluation(seq, "f0", text, "shared", "done", found), seconds=0.5)
        last = Evaluation(
            len(texts), "f0", space.format(space.smallest()), "shared", "failed", reason="timeout"
        )
        archive.record(last)


def train(made: Context) -> None:
    """Weights of a supernet, as its training would leave them."""
    weights.save(made.run.path(factory.SUPERNET), factory.supernet(made.setup).state_dict())


def retrain(made: Context) -> None:
    """Every chosen network with weights that differ from the inherited ones."""
    supernet = factory.load_supernet(made)
    for net in files.read_json(made.run.need("selected.json", made_by="select"))["nets"]:
        static = extract(supernet, supernet.space.parse(net["genotype"]))
        moved = {name: tensor * 1.05 for name, tensor in static.state_dict().items()}
        weights.save(made.run.path(f"retrain/{net['name']}/model.safetensors"), moved)
        metrics = {"abs_rel": 0.3, "rmse": 2.0}
        result = {"name": net["name"], "genotype": net["genotype"], "steps": 4, "seconds": 1.5}
        result |= {"inherited": metrics, "retrained": metrics, "scratch": None}
        files.write_json(made.run.path(f"retrain/{net['name']}/result.json"), result)
