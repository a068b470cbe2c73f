"""mmseg's UPerNet as a segmentation head.

Legend: B batch, C classes, H W space.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from evonas.mm import extension, settings
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level
from evonas.nn.upernet import AUXILIARY_LEVEL, check


class MMSegUPerNet(nn.Module):
    """mmseg's UPerHead with its auxiliary FCN head.

    Args:
        levels: of the backbone, finest first.
        out_channels: classes.
        output: must be `linear`.
        width: of every map.
        context: `ppm` for UPerHead, `mamba` for the paper's top-down path in it.
        dropout: probability of dropping a channel before a classifier.
        side_width: of the auxiliary head, on the third level or the coarsest; 0 for no such head.
        side_weight: of the auxiliary loss.
        bn_momentum: of all batch norms.
        seed: of the random weights.

    Raises:
        UserError: mmseg is not installed or does not fit; the context or output is unknown.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        output: str = "linear",
        width: int = 512,
        context: str = "ppm",
        dropout: float = 0.1,
        side_width: int = 256,
        side_weight: float = 0.4,
        bn_momentum: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check(context, output)
        extension.load("mmseg", "head=mmseg_upernet")
        self.context, self.side_weight = context, side_weight
        self.settings: dict[str, Any] = {
            "out_channels": out_channels,
            "width": width,
            "context": context,
            "dropout": dropout,
            "side_width": side_width,
            "side_weight": side_weight,
            "bn_momentum": bn_momentum,
        }
        channels = [level.channels for level in levels]
        at = min(AUXILIARY_LEVEL, len(levels) - 1)
        with uninitialised(self, seed):
            sizes = settings.decode_head(channels, out_channels, width, dropout, bn_momentum)
            if context == "ppm":
                self.head = _build({**sizes, "type": "UPerHead"})
            else:
                from evonas.mm.decode_heads import MambaUPerHead

                self.head = MambaUPerHead(**sizes)
            self.auxiliary = None
            if side_width:
                self.auxiliary = _build(
                    settings.side_head(channels, at, out_channels, side_width, dropout, bn_momentum)
                )

    def forward(self, levels: list[Tensor]) -> Tensor | AuxiliaryOutput:
        """Maps finest first, of any sizes, to logits B C H W of the finest map's size."""
        logits: Tensor = self.head(levels)
        if self.auxiliary is None or not self.training:
            return logits
        return AuxiliaryOutput(logits, self.auxiliary(levels), self.side_weight)


def _build(node: settings.Settings) -> Any:
    from mmseg.registry import MODELS

    return MODELS.build(node)
