"""Depth Anything with Mask2Former as a frozen teacher of semantic segmentation.

Legend: B batch, C classes, H W space, Q queries.

The authors of Depth Anything fine-tuned its encoder (a DINOv2) with Mask2Former (arXiv 2112.01527) on ADE20K and
Cityscapes (semseg/ in the repository LiheYoung/Depth-Anything). The feature pyramid between both, made of the last
four layers, is implemented here; the decoders are those of `transformers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.train.teachers import checkpoint_names, transformers_models
from evonas.train.teachers.transformers_models import Encoder, Published

_PAGE = "huggingface.co/spaces/LiheYoung/Depth-Anything (checkpoints_semseg)"
CHECKPOINTS = {"ade20k": "ade20k_vitl_mIoU_59.4.pth", "cityscapes": "cityscapes_vitl_mIoU_86.4.pth"}
# lower bound of scores before the logarithm
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes of Mask2Former; its width is that of the encoder.

    Args:
        queries: number of mask queries.
        heads: attention heads.
        hidden: width of the feed-forward layers.
        below: layers of the pixel decoder.
        above: layers of the transformer decoder.
    """

    queries: int
    heads: int
    hidden: int
    below: int
    above: int


# published configurations (semseg/config/depth_anything)
DECODERS = {"tiny": Decoder(8, 2, 64, 2, 3), "large": Decoder(200, 32, 4096, 6, 9)}


class Mask2Former(transformers_models.FrozenNetwork):
    """A frozen segmentation network; its logits are the logarithms of normalised class scores.

    Args:
        data: data set of the weights: ade20k or cityscapes.
        classes: number of classes of the task.
        size: large, or tiny (a few random layers, for tests).
        weights: weights file; None searches `folder` for the published one.
        folder: folder of teachers' weights.
        input_size: height and width of the network's input, multiples of 14; None keeps the size of the images and
            pads them with zeros, right and below, to multiples of 14.

    Raises:
        UserError: an argument is unknown, or the weights are missing.
        DataError: the file contains another network.
    """

    def __init__(
        self,
        data: str,
        classes: int,
        size: str = "large",
        weights: str | None = None,
        folder: str = "",
        input_size: Sequence[int] | None = None,
    ) -> None:
        if data not in CHECKPOINTS or size not in DECODERS:
            raise UserError(
                f"No Mask2Former of teacher.data={data} in teacher.size={size} is known.",
                f"Known: {', '.join(CHECKPOINTS)}; in sizes {', '.join(DECODERS)}.",
            )
        offered = [Published(CHECKPOINTS[data], _PAGE)] if size == "large" else []
        source = transformers_models.find_weights(
            weights, folder, offered, size, f"mask2former {data} {size}"
        )
        super().__init__(_segmenter(size, classes, source), source)
        self.input_size = None if input_size is None else transformers_models.check_input(input_size)
        self.levels: tuple[Level, ...] = (
            Level(transformers_models.encoder(size).width, transformers_models.PATCH),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits, B C H W."""
        return self.forward_with_features(x)[0]

    @torch.no_grad()
    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (B C H W, float32) at the size of the images, and the encoder's last map, stride 14."""
        size = (int(x.shape[-2]), int(x.shape[-1]))
        scores, last = self.network(transformers_models.network_input(x, self.input_size))
        scores = transformers_models.restored(scores, size, self.input_size).clamp_min(_LEAST)
        return (scores / scores.sum(dim=1, keepdim=True)).log(), [last]


class Segmenter(nn.Module):
    """Encoder, pyramid and Mask2Former.

    Args:
        encoder: returns the maps of its last four layers.
        pixels: Mask2FormerPixelDecoder of `transformers`.
        queries: Mask2FormerTransformerModule of `transformers`.
        width: channels of all maps.
        classes: number of classes without the "no object" class.
    """

    def __init__(
        self, encoder: nn.Module, pixels: nn.Module, queries: nn.Module, width: int, classes: int
    ) -> None:
        super().__init__()
        self.encoder, self.pyramid = encoder, Pyramid(width)
        self.pixels, self.queries, self.classes = pixels, queries, nn.Linear(width, classes + 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Non-negative scores (B C H W, float32) and the encoder's last map."""
        maps = list(self.encoder(image).feature_maps)
        below: Any = self.pixels(self.pyramid(maps))
        above: Any = self.queries(below.multi_scale_features, below.mask_features, output_hidden_states=True)
        named = self.classes(above.intermediate_hidden_states[-1].transpose(0, 1))
        masks = above.masks_queries_logits[-1].float()
        masks = F.interpolate(masks, size=image.shape[-2:], mode="bilinear", align_corners=False).sigmoid()
        # sums over two hundred masks need float32
        with torch.autocast(image.device.type, enabled=False):
            shares = named.float().softmax(dim=-1)[..., :-1]
            return torch.einsum("bqc,bqhw->bchw", shares, masks), maps[-1]


class Pyramid(nn.Module):
    """Rescales four maps of equal stride to 1/4, 1/2, 1 and 2 times this stride."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fourfold = nn.Sequential(
            _doubling(width),
            nn.BatchNorm2d(width),
            nn.GELU(),
            _doubling(width),
        )
        self.twofold = _doubling(width)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Finest first."""
        return [self.fourfold(maps[0]), self.twofold(maps[1]), maps[2], F.max_pool2d(maps[3], 2)]


def _doubling(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)


def _segmenter(size: str, classes: int, source: Path | None) -> nn.Module:
    """The network with weights of a file, or with random weights for None."""
    of = transformers_models.encoder(size)
    config = transformers_models.encoder_config(of, of.last, as_maps=True)
    kind = transformers_models.transformers().Dinov2Backbone
    if source is None:
        return _assembled(kind(config), of, DECODERS[size], classes)
    parts = checkpoint_names.segmenter_names(transformers_models.read_weights(source))
    encoder = transformers_models.filled(kind, config, parts.encoder, source)
    made = _assembled(encoder, of, DECODERS[size], classes)
    kept = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    transformers_models.load_all(made, {**kept, **parts.rest}, source)
    return made


def _assembled(encoder: nn.Module, of: Encoder, decoder: Decoder, classes: int) -> nn.Module:
    transformers_models.transformers()
    from transformers.models.mask2former import modeling_mask2former as parts

    config: Any = transformers_models.transformers().Mask2FormerConfig(
        feature_size=of.width,
        mask_feature_size=of.width,
        hidden_dim=of.width,
        encoder_feedforward_dim=decoder.hidden,
        dim_feedforward=decoder.hidden,
        encoder_layers=decoder.below,
        # `transformers` counts the prediction before the first layer
        decoder_layers=decoder.above + 1,
        num_attention_heads=decoder.heads,
        num_queries=decoder.queries,
    )
    pixels = parts.Mask2FormerPixelDecoder(config, [of.width] * 4)
    # `transformers` leaves this parameter uninitialised
    nn.init.normal_(pixels.level_embed)
    queries = parts.Mask2FormerTransformerModule(of.width, config)
    return Segmenter(encoder, pixels, queries, of.width, classes)
