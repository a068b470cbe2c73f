"""A network of a supernet family as a teacher, under the task's head: FasterSeg's teacher, for instance."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.detection.base import HeadOutput
from evonas.supernets.backbone import Backbone
from evonas.supernets.base import SupernetFamily, published
from evonas.supernets.resolution import fitted
from evonas.train.teachers.base import Maps, count_params


class SubnetBackbone(nn.Module):
    """The backbone of one genotype; trained here with the task's head, or frozen with both from a file.

    Args:
        network: the family, with the settings of the teacher.
        genotype: the text of a genotype, or the name of a published network of the family.
        weights: file of the whole trained network, head included, as `stage=retrain`, `stage=export` and
            `stage=teacher` write it; None to train the teacher here.

    Raises:
        UserError: the genotype is not one of the space, or the published network has other settings.
    """

    has_output = True
    scales = True
    head_settings: Mapping[str, Any] | None = None
    origin = None
    # names of backbones in the files of retrained and exported networks
    renames: Mapping[str, str] = {"backbone.": "body.network."}

    def __init__(self, network: SupernetFamily, genotype: str, weights: str | None = None) -> None:
        super().__init__()
        known = published(network)
        if genotype in known:
            _check_settings(genotype, known[genotype].settings, network)
        elif ":" not in genotype:
            raise UserError(
                f"teacher.genotype={genotype} is not a network of space {network.space.name}.",
                f"Give the text of one{', or: ' if known else ''}{', '.join(known)}.",
            )
        text = known[genotype].genotype if genotype in known else genotype
        # the caller seeds torch
        self.network: Backbone = network.build(network.space.parse(text), torch.initial_seed() % 2**32)
        self.levels, self.file = self.network.levels, weights

    @property
    def num_params(self) -> int:
        """The number of parameters."""
        return count_params(self)

    def forward(self, x: Tensor) -> Maps:
        """One map per level, finest first."""
        return list(self.network(x))

    def restored(self, output: HeadOutput, size: tuple[int, int]) -> HeadOutput:
        """A dense output at the size of the images."""
        return fitted(output, self.network, size)


def _check_settings(name: str, settings: Mapping[str, Any], network: SupernetFamily) -> None:
    described = network.describe(network.space.parse(published(network)[name].genotype))
    for key, value in settings.items():
        own = described.get("network", {}).get(key, value)
        if own != value:
            raise UserError(
                f"{name} has teacher.network.{key}={value}, not {own}.", f"Set teacher.network.{key}={value}."
            )
