"""The published detectors and segmentors whole: sizes against the published ones, and one step on this CPU.

Each runs in a process of its own: one training pass forward and backward and one answer, for one random
image (800x1280 with eight objects for COCO, 512x512 for ADE20K), with random weights. Heads are those of
OpenMMLab where it is installed (`make openmm`), else ours; both are of the same sizes.

    python benchmarks/dense.py
    python benchmarks/dense.py coco-base ade20k-tiny heads=ours
"""

import json
import resource
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from evonas import schema
from evonas.cli import conf_dir
from evonas.config import build
from evonas.mm import installed
from evonas.stages.build.setup import Setup
from evonas.supernets.evonet.published import PUBLISHED
from evonas.supernets.static_net import StaticNet, static_net
from evonas.tasks.segmentation import Segmentation

CLASSES = {"coco": 80, "ade20k": 150}
SIZES = {"coco": (800, 1280), "ade20k": (512, 512)}
OBJECTS, MASK = 8, 112
# million parameters of the whole in the published configurations, without the auxiliary head
KNOWN = {
    "coco-base": 42.3,
    "coco-small": 33.0,
    "coco-tiny": 32.7,
    "ade20k-base": 30.9,
    "ade20k-small": 25.7,
    "ade20k-tiny": 22.2,
}
HEADS = {
    ("coco", "ours"): ("head=mask_rcnn", "head/neck=mamba_fpn"),
    ("coco", "mm"): ("head=mmdet_mask_rcnn", "head/neck=mamba_fpn"),
    ("ade20k", "ours"): ("head=upernet",),
    ("ade20k", "mm"): ("head=mmseg_upernet", "head.context=mamba"),
}


def main(*words: str) -> None:
    """Print a Markdown table with a row for each network that is named, or for all."""
    heads = next((word.removeprefix("heads=") for word in words if word.startswith("heads=")), None)
    heads = heads or ("mm" if {"mmdet", "mmseg"} <= installed.packages().keys() else "ours")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, heads={heads}, one image\n")
    print(
        "| network | backbone M | neck M | heads M | whole M (published) | aux M | forward s | backward s ",
        end="",
    )
    print("| answer s | peak GiB |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in [word for word in words if "=" not in word] or list(KNOWN):
        command = [sys.executable, __file__, "--one", name, heads]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        print(row(name, json.loads(ended.stdout.splitlines()[-1])), flush=True)


def row(name: str, found: dict[str, float]) -> str:
    """One line of the table."""
    parts = [found[each] / 1e6 for each in ("backbone", "neck", "heads")]
    sizes = [f"{each:.3f}" if each else "-" for each in parts]
    whole = f"{sum(parts):.2f} ({KNOWN[name]})"
    rest = [f"{found['aux'] / 1e6:.3f}" if found["aux"] else "-"]
    rest += [f"{found[each]:.1f}" for each in ("forward", "backward", "answer", "memory")]
    return f"| {' | '.join([name, *sizes, whole, *rest])} |"


def one(name: str, heads: str) -> dict[str, float]:
    """Sizes, seconds and peak memory of one network; forward includes its losses."""
    task = name.split("-")[0]
    net = network(name, task, heads)
    image = torch.randn(1, 3, *SIZES[task], generator=torch.Generator().manual_seed(0))
    seconds = {}
    begin = time.perf_counter()
    loss = objects_loss(net.train(), image) if task == "coco" else classes_loss(net.train(), image)
    seconds["forward"] = time.perf_counter() - begin
    begin = time.perf_counter()
    loss.backward()
    seconds["backward"] = time.perf_counter() - begin
    begin = time.perf_counter()
    with torch.no_grad():
        net.eval()(image)
    seconds["answer"] = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**sizes(net), **seconds, "memory": memory}


def network(name: str, task: str, heads: str) -> StaticNet:
    """A published network with random weights and the head of its task."""
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", overrides=["network=evonet", *HEADS[task, heads]])
    family = Setup(cfg).family
    counted = {"num_classes" if task == "coco" else "out_channels": CLASSES[task]}
    head = build(cfg.head)(family.levels, **counted)
    return static_net(family, head, family.space.parse(PUBLISHED[name].genotype))


def sizes(net: StaticNet) -> dict[str, float]:
    """Parameters of the parts; the auxiliary head is apart from the rest."""
    head: Any = net.head
    found = {"backbone": count(net.backbone)}
    found["neck"] = count(getattr(head, "neck", None))
    found["aux"] = count(getattr(head, "side", None))
    return {**found, "heads": count(head) - found["neck"] - found["aux"]}


def count(module: nn.Module | None) -> int:
    """Parameters."""
    return 0 if module is None else sum(each.numel() for each in module.parameters())


def objects_loss(net: StaticNet, image: Tensor) -> Tensor:
    """The sum of a detector's losses on random objects."""
    random = torch.Generator().manual_seed(1)
    height, width = image.shape[-2:]
    corners = torch.rand(1, OBJECTS, 2, generator=random) * torch.tensor([width - 320, height - 320])
    sides = 32 + 288 * torch.rand(1, OBJECTS, 2, generator=random)
    batch = {
        "boxes": torch.cat((corners, corners + sides), dim=-1),
        "labels": torch.randint(CLASSES["coco"], (1, OBJECTS), generator=random),
        "masks": torch.randint(2, (1, OBJECTS, MASK, MASK), generator=random).to(torch.uint8),
    }
    regions: Any = net(image)
    return torch.stack(list(regions.losses(batch).values())).sum()


def classes_loss(net: StaticNet, image: Tensor) -> Tensor:
    """A segmentor's loss, its auxiliary head's included, on random classes."""
    names = [str(index) for index in range(CLASSES["ade20k"])]
    source: Any = SimpleNamespace(size=tuple(image.shape[-2:]))
    random = torch.Generator().manual_seed(1)
    truth = torch.randint(len(names), (1, *image.shape[-2:]), generator=random)
    return Segmentation(source, nn.Identity, "ade20k", names).loss(net(image), {"classes": truth})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
    else:
        main(*sys.argv[1:])
