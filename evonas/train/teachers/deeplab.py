"""DeepLabv3+ (arXiv 1802.02611) of the package `segmentation_models_pytorch` as a teacher of semantic segmentation.

Legend: B batch, C classes, H W space.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.nn.timm_weights import Matched, load_timm_weights
from evonas.train.teachers.base import Maps, Origin, count_params

# encoders by size; SasWOT's teacher has the largest
ENCODERS = {"tiny": "resnet18", "small": "resnet34", "base": "resnet50", "large": "resnet101"}
# of the map that the classes are read from, and its channels
_FINE, _CHANNELS = 4, 256


class DeepLabV3Plus(nn.Module):
    """A complete teacher, trained here or frozen with weights from a file; see the contract in `base.py`.

    Images are padded with zeros, right and below, to multiples of the coarsest stride.

    Args:
        classes: number of classes; config leaves it open (None) for that of a task of segmentation.
        size: large (ResNet-101), base (ResNet-50), small (ResNet-34), or tiny (ResNet-18, for trials).
        weights: file of the whole trained network, in the layout of the package; None to train it here.
        encoder_weights: file of the encoder's weights that training starts from, in the layout of timm or torchvision;
            None for random ones.
        output_stride: stride of the coarsest map: 16 or 8.

    Raises:
        UserError: an argument is unknown, or the package is not installed.
    """

    has_output = True
    origin: Origin | None = None
    renames: Mapping[str, str] = {"": "network."}

    def __init__(
        self,
        classes: int | None,
        size: str = "large",
        weights: str | None = None,
        encoder_weights: str | None = None,
        output_stride: int = 16,
    ) -> None:
        super().__init__()
        if classes is None:
            raise UserError(
                "teacher=deeplabv3plus finds a class for every pixel, which is not what this task asks for.",
                "Choose teacher=resnet, or distill=none.",
            )
        if size not in ENCODERS:
            raise UserError(f"teacher.size={size} is unknown.", f"Known: {', '.join(ENCODERS)}")
        if output_stride not in (8, 16):
            raise UserError(
                f"teacher.output_stride must be 8 or 16, got {output_stride}.",
                "Try teacher.output_stride=16.",
            )
        self.network: Any = _package().DeepLabV3Plus(
            ENCODERS[size],
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_channels=_CHANNELS,
            classes=classes,
            upsampling=_FINE,
        )
        self.encoder, self.file, self.encoder_weights = ENCODERS[size], weights, encoder_weights
        self.levels = (
            Level(_CHANNELS, _FINE),
            Level(int(self.network.encoder.out_channels[-1]), output_stride),
        )

    @property
    def num_params(self) -> int:
        """The number of parameters."""
        return count_params(self)

    def load_start(self, key: str = "teacher.encoder_weights") -> Matched | None:
        """Loads `encoder_weights` in place and says what matched; None where there is no file.

        Raises:
            UserError, DataError: the file is missing or belongs to another network; see `load_timm_weights`.
        """
        if self.encoder_weights is None:
            return None
        return load_timm_weights(
            self.network.encoder, Path(self.encoder_weights), f"timm:{self.encoder}", key
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits, B C H W."""
        return self.forward_with_features(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Maps]:
        """Logits (B C H W, float32) at the size of the images; the map behind them and the encoder's last one."""
        height, width = x.shape[-2:]
        stride = self.levels[-1].stride
        coarse = self.network.encoder(F.pad(x, (0, -width % stride, 0, -height % stride)))
        fine = self.network.decoder(coarse)
        logits = self.network.segmentation_head(fine).float()
        return logits[..., :height, :width], [fine, coarse[-1]]


def _package() -> Any:
    """Imports `segmentation_models_pytorch`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except ImportError as error:
        raise UserError(
            "This teacher needs the package 'segmentation-models-pytorch', which is not installed.",
            "pip install 'evonas[teachers]', or choose distill=none",
        ) from error
