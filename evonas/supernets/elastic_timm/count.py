"""Multiply-adds of every module of the whole model, counted by running it.

Legend: H W space.
"""

import torch

from evonas.nn.count import counting
from evonas.supernets.elastic_timm.backbone import whole
from evonas.supernets.elastic_timm.structure import Structure
from evonas.supernets.step import Size


def macs_of_modules(structure: Structure, size: Size) -> dict[str, int]:
    """Multiply-adds that belong to a module itself, not to those inside it, by name; none where there are none.

    Args:
        size: at which the backbone reads the image.
    """
    backbone = whole(structure)
    with counting() as counter:
        backbone(torch.zeros(1, 3, *size))
    prefix = f"{type(backbone).__name__}.net."
    total = {
        name.removeprefix(prefix): sum(counts.values()) // 2
        for name, counts in counter.get_flop_counts().items()
        if name.startswith(prefix)
    }
    own = dict(total)
    for name, count in total.items():
        above = name.rpartition(".")[0]
        while above and above not in total:
            above = above.rpartition(".")[0]
        if above:
            own[above] -= count
    return {name: count for name, count in own.items() if count}
