"""What can be cut in models of timm: genes, multiply-adds, what was refused and why, and how long it took to find.

    python benchmarks/elastic_coverage.py [--streams] [MODEL ...]

Prints one row a model as soon as it is found, in the form of the tables of docs/results.md; with --streams that of the
channels that pass between blocks. Every subnet that is priced is also run: the smallest one, on one image.
"""

import sys
import time
from collections import Counter

import torch

from evonas.errors import UserError
from evonas.space.space import Space
from evonas.supernets.elastic_timm import subnet
from evonas.supernets.elastic_timm.backbone import cut_out, whole
from evonas.supernets.elastic_timm.cost import Prices, path
from evonas.supernets.elastic_timm.count import macs_of_modules
from evonas.supernets.elastic_timm.space import Reading, elastic_space
from evonas.supernets.elastic_timm.structure import HEADS, WIDTH, Structure
from evonas.supernets.elastic_timm.structure_store import structure_of

SIZE = (64, 96)
MODELS = (
    "mobilenetv3_small_100",
    "convnext_atto",
    "deit_tiny_patch16_224",
    "mobilenetv4_conv_small",
    "regnetx_002",
    "repvit_m0_9",
    "ghostnet_100",
    "edgenext_xx_small",
    "efficientvit_b0",
    "mobilevit_s",
    "fastvit_t8",
    "mobilenetv2_100",
    "hgnetv2_b0",
    "efficientnet_b0",
    "mambaout_femto",
    "tf_efficientnetv2_b0",
    "resnet50",
    "hrnet_w18_small",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",
    "resnet10t",
    "tf_efficientnet_lite0",
    "convnextv2_atto",
    "mobilenetv3_large_100",
    "efficientformerv2_s0",
    "vit_small_patch14_dinov2",
    "convnext_tiny",
    "resnet18",
    "vgg11_bn",
    "densenet121",
    "mnasnet_100",
    "res2net50d",
    "seresnet18",
    "vit_tiny_patch16_224",
)


# least parts of every width, number of heads and stream
PARTS = (0.5, 0.25)
WITH_STREAMS = (
    "mobilenetv3_small_100",
    "mobilenetv2_100",
    "efficientnet_b0",
    "mobilenetv4_conv_small",
    "regnetx_002",
    "resnet10t",
    "resnet18",
    "resnet50",
    "convnext_atto",
    "deit_tiny_patch16_224",
    "ghostnet_100",
    "edgenext_xx_small",
    "efficientvit_b0",
    "mobilevit_s",
    "fastvit_t8",
    "mambaout_femto",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",
    "densenet121",
)


def ends(of: Structure, space: Space) -> list[float]:
    """Millions of multiply-adds of the largest and of the smallest subnet, which is run once."""
    prices, reading = Prices(of, macs_of_modules), Reading(space, of)
    smallest = reading.architecture(space.smallest())
    with torch.no_grad():
        found = cut_out(whole(of).eval(), smallest)(torch.zeros(1, 3, *SIZE))
    assert [each.shape[1] for each in found] == [level.channels for level in subnet.levels(of, smallest)]
    both = (subnet.largest(of), smallest)
    return [sum(prices.of(step, SIZE).macs for step in path(each, of)) / 1e6 for each in both]


def stream_row(model: str) -> str:
    """One row of the table of streams."""
    begun = time.process_time()
    try:
        of = structure_of(model, variant="streams")
    except UserError as error:
        return f"| {model} | 0 | - | - | - | - | {error.message} |"
    seconds = time.process_time() - begun
    cells = list[str]()
    for part in PARTS:
        wanted = {"widths": (part, 1.0), "heads": (part, 1.0), "resolutions": (1.0,), "depth": 0.0}
        largest, without = ends(structure_of(model), elastic_space(model, **wanted))
        _, with_them = ends(of, elastic_space(model, **wanted, streams=(part, 1.0)))
        cells.append(f"{without:.3g} > {with_them:.3g}")
    streams = [of.groups[at] for at in of.streams]
    inexact = sum(not each.is_exact for each in streams)
    refused = [reason.partition(":")[0] for what, reason in of.refused if what.startswith("stream ")]
    reasons = "; ".join(f"{count}: {reason}" for reason, count in Counter(refused).items()) or "0"
    marked = f" ({inexact} with a norm)" if inexact else ""
    return f"| {model} | {len(streams)}{marked} | {largest:.3g} | {' | '.join(cells)} | {seconds:.1f} | {reasons} |"


def row(model: str) -> str:
    """One row of the table."""
    begun = time.process_time()
    try:
        space = elastic_space(model, resolutions=(1.0,), depth=0.0)
    except UserError as error:
        return f"| {model} | - | - | - | {error.message} |"
    seconds = time.process_time() - begun
    of = structure_of(model)
    macs = ends(of, space)
    kinds = Counter(group.kind for group in of.groups)
    droppable = sum(block.is_droppable for block in of.blocks)
    inexact = sum(not group.is_exact for group in of.groups)
    marked = f" ({inexact} with a norm)" if inexact else ""
    reasons = Counter(reason.partition(":")[0] for _, reason in of.refused)
    refused = "; ".join(f"{count}: {reason}" for reason, count in reasons.items()) or "0"
    return (
        f"| {model} | {kinds[WIDTH]}/{kinds[HEADS]}/{droppable}{marked} | {macs[0]:.3g} > {macs[1]:.3g} | "
        f"{seconds:.1f} | {refused} |"
    )


def main() -> None:
    torch.set_num_threads(1)
    given = [word for word in sys.argv[1:] if word != "--streams"]
    if "--streams" in sys.argv:
        print("| model | streams | MMAC | half: without > with | quarter: without > with | s | left whole |")
        print("|---|---|---|---|---|---|---|")
        for model in given or WITH_STREAMS:
            print(stream_row(model), flush=True)
        return
    print("| model | groups of channels / of heads / blocks to leave out | MMAC | s | refused |")
    print("|---|---|---|---|---|")
    for model in given or MODELS:
        print(row(model), flush=True)


if __name__ == "__main__":
    main()
