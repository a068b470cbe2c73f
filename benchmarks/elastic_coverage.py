"""What can be cut in models of timm: genes, multiply-adds, what was refused and why, and how long it took to find.

    python benchmarks/elastic_coverage.py [MODEL ...]

Prints one row a model as soon as it is found, in the form of the table of docs/results.md. Every subnet that is priced
is also run: the smallest one, on one image.
"""

import sys
import time
from collections import Counter

import torch

from evonas.errors import UserError
from evonas.supernets.elastic_timm import subnet
from evonas.supernets.elastic_timm.backbone import cut_out, whole
from evonas.supernets.elastic_timm.cost import Prices, path
from evonas.supernets.elastic_timm.count import macs_of_modules
from evonas.supernets.elastic_timm.space import Reading, elastic_space
from evonas.supernets.elastic_timm.structure import HEADS, WIDTH
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


def row(model: str) -> str:
    """One row of the table."""
    begun = time.process_time()
    try:
        space = elastic_space(model, resolutions=(1.0,), depth=0.0)
    except UserError as error:
        return f"| {model} | - | - | - | {error.message} |"
    seconds = time.process_time() - begun
    of = structure_of(model)
    prices, reading = Prices(of, macs_of_modules), Reading(space, of)
    smallest = reading.architecture(space.smallest())
    macs = [
        sum(prices.of(step, SIZE).macs for step in path(each, of)) for each in (subnet.largest(of), smallest)
    ]
    with torch.no_grad():
        found = cut_out(whole(of).eval(), smallest)(torch.zeros(1, 3, *SIZE))
    assert [each.shape[1] for each in found] == [stage.channels for stage in of.stages]
    kinds = Counter(group.kind for group in of.groups)
    droppable = sum(block.is_droppable for block in of.blocks)
    inexact = sum(not group.is_exact for group in of.groups)
    marked = f" ({inexact} with a norm)" if inexact else ""
    reasons = Counter(reason.partition(":")[0] for _, reason in of.refused)
    refused = "; ".join(f"{count}: {reason}" for reason, count in reasons.items()) or "0"
    return (
        f"| {model} | {kinds[WIDTH]}/{kinds[HEADS]}/{droppable}{marked} | {macs[0] / 1e6:.3g} > {macs[1] / 1e6:.3g} | "
        f"{seconds:.1f} | {refused} |"
    )


def main() -> None:
    torch.set_num_threads(1)
    print("| model | groups of channels / of heads / blocks to leave out | MMAC | s | refused |")
    print("|---|---|---|---|---|")
    for model in sys.argv[1:] or MODELS:
        print(row(model), flush=True)


if __name__ == "__main__":
    main()
