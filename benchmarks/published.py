"""The published networks counted by this code, as a Markdown table for docs/results.md.

    python benchmarks/published.py

Multiply-adds are those of convolutions and matrix products for one image, with the decoder's state
fusions in the form of inference (one 11x11 kernel each). Nothing is timed and nothing runs on data.
"""

from functools import lru_cache

from evonas.nn.count import count_head
from evonas.nn.sasf import fuse
from evonas.nn.topdown import SASFDecoder
from evonas.supernets.base import cost
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.published import KITTI, NYU, PUBLISHED, Published
from evonas.supernets.evonet.space import evonet_space

FAMILY = EvoNet(evonet_space(), (64, 128, 256, 512), (2, 4, 8, 16))
LEVELS = FAMILY.levels
# where the depth decoder is what follows the backbone
DEPTH = (NYU, KITTI)


def main() -> None:
    """Print the table."""
    print("| name | genotype | image | backbone M | with decoder M | backbone GMACs | with decoder GMACs |")
    print("|---|---|---|---|---|---|---|")
    for name, net in PUBLISHED.items():
        for size in net.sizes:
            print(_row(name, net, size))


def _row(name: str, net: Published, size: tuple[int, int]) -> str:
    costs = cost(FAMILY, FAMILY.space.parse(net.genotype), size)
    params, macs = costs.params, costs.macs
    whole = "-", "-"
    if size in DEPTH:
        head_params, head_macs = _decoder(size)
        whole = f"{(params + head_params) / 1e6:.3f}", f"{(macs + head_macs) / 1e9:.2f}"
    cells = name, f"`{net.genotype}`", "{}x{}".format(*size), f"{params / 1e6:.3f}"
    return "| " + " | ".join([*cells, whole[0], f"{macs / 1e9:.2f}", whole[1]]) + " |"


@lru_cache
def _decoder(size: tuple[int, int]) -> tuple[int, int]:
    decoder = SASFDecoder(LEVELS, 1, output="sigmoid", scale=10.0)
    # a fused copy holds its kernels beside the parameters, so those are counted before
    params = sum(parameter.numel() for parameter in decoder.parameters())
    return params, count_head(fuse(decoder), LEVELS, *size)[1]


if __name__ == "__main__":
    main()
