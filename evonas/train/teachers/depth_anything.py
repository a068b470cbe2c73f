"""Depth Anything as a frozen teacher of metric depth.

Legend: B batch, H W space.

Version 1 (arXiv 2401.10891) decodes the last four layers of DINOv2, followed by ZoeDepth's metric bins (arXiv
2302.12288); `transformers` contains both parts, which `Binned` combines. Version 2 (arXiv 2406.09414) decodes layers
spread over the network, followed by a sigmoid times 20 m (indoor) or 80 m (outdoor).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.train.teachers import checkpoint_names, transformers_models
from evonas.train.teachers.transformers_models import Encoder, Published

Family = Literal["depth_anything", "depth_anything_v2"]
Scene = Literal["indoor", "outdoor"]
# input of the projection after DPT's coarsest branch, the teacher feature of CA-DDKD for stage 4
STAGE_4 = "neck.reassemble_stage.layers.3"
_HEAD_WIDTH = 32
_RANGES = {"indoor": 20.0, "outdoor": 80.0}
_BOTTLENECK, _BLOCKS, _LAST = "neck.convs.3", "neck.fusion_stage", "head.activation1"


class DepthAnything(transformers_models.FrozenNetwork):
    """A frozen Depth Anything network with metric depth.

    Images are resized to `input_size` without keeping the aspect ratio, as CA-DDKD does. Depth is resized to the
    size of the images, both bilinearly with aligned corners, and clipped at `max_depth`.

    Args:
        family: depth_anything or depth_anything_v2.
        size: small, base, large, or tiny (a few random layers, for tests).
        scene: indoor or outdoor weights.
        weights: weights file; None searches `folder` for the published one.
        folder: folder of teachers' weights.
        input_size: height and width of the network's input, multiples of 14.
        feature: path of the module whose output is the distilled feature.
        max_depth: maximum depth in metres.

    Raises:
        UserError: an argument is unknown, or the weights are missing.
        DataError: the file contains another network.
    """

    def __init__(
        self,
        family: str = "depth_anything",
        size: str = "large",
        scene: str = "outdoor",
        weights: str | None = None,
        folder: str = "",
        input_size: Sequence[int] = (392, 518),
        feature: str = STAGE_4,
        max_depth: float = 80.0,
    ) -> None:
        _check("family", family, get_args(Family))
        _check("scene", scene, get_args(Scene))
        of, first = transformers_models.encoder(size), family == "depth_anything"
        offered = published(cast(Family, family), size, cast(Scene, scene))
        source = transformers_models.find_weights(weights, folder, offered, size, f"{family} {size} {scene}")
        network = _version_1(of, source) if first else _version_2(of, _RANGES[scene], source)
        super().__init__(network, source)
        self.input_size, self.feature = transformers_models.check_input(input_size), feature
        self.max_depth = float(max_depth)
        self.levels: tuple[Level, ...] = (transformers_models.level_of(self.trunk, feature),)

    @property
    def trunk(self) -> nn.Module:
        """Encoder and decoder; `feature` is a path in it."""
        network = self.network
        trunk: nn.Module = network.relative if isinstance(network, Binned) else network
        return trunk

    def forward(self, x: Tensor) -> Tensor:
        """Depth in metres, B 1 H W."""
        return self.forward_with_features(x)[0]

    @torch.no_grad()
    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Depth in metres (B 1 H W, float32) at the size of the images, and the distilled map."""
        height, width = x.shape[-2:]
        image = transformers_models.resized(x, self.input_size)
        with transformers_models.recorded_outputs(self.trunk, self.feature) as seen:
            result: Any = self.network(image)
        depth = result if isinstance(result, Tensor) else result.predicted_depth[:, None]
        rows, columns = (side // transformers_models.PATCH for side in self.input_size)
        metres = transformers_models.resized(depth, (height, width)).clamp(0.0, self.max_depth)
        return metres, [transformers_models.as_map(seen[self.feature], (rows, columns))]


class Binned(nn.Module):
    """Depth Anything's relative depth followed by ZoeDepth's metric bins.

    Args:
        relative: DepthAnythingForDepthEstimation of `transformers`, for relative depth.
        bins: ZoeDepth's metric head with the same decoder width.
    """

    def __init__(self, relative: nn.Module, bins: nn.Module) -> None:
        super().__init__()
        self.relative, self.bins = relative, bins

    def forward(self, image: Tensor) -> Tensor:
        """Depth in metres, B 1 h w, at the size of the network's input."""
        relative: Any = self.relative
        with transformers_models.recorded_outputs(relative, _BOTTLENECK, _BLOCKS, _LAST) as seen:
            depth = relative(image).predicted_depth
        last, bottleneck = seen[_LAST].float(), seen[_BOTTLENECK].float()
        blocks = [block.float() for block in seen[_BLOCKS]]
        # logarithms of small probabilities need float32
        with torch.autocast(image.device.type, enabled=False):
            metres, _ = self.bins(last, bottleneck, blocks, depth.float())
        return cast(Tensor, metres)


def published(family: Family, size: str, scene: Scene) -> list[Published]:
    """The published weights files; empty for sizes that were not published."""
    if family == "depth_anything":
        page = "huggingface.co/spaces/LiheYoung/Depth-Anything (checkpoints_metric_depth)"
        return [Published(f"depth_anything_metric_depth_{scene}.pt", page)] if size == "large" else []
    if size == "tiny":
        return []
    place, source = scene.capitalize(), {"indoor": "Hypersim", "outdoor": "VKITTI"}[scene]
    hub = f"Depth-Anything-V2-Metric-{place}-{size.capitalize()}-hf"
    own = f"Depth-Anything-V2-Metric-{source}-{size.capitalize()}"
    file = f"depth_anything_v2_metric_{source.lower()}_vit{size[0]}.pth"
    return [
        Published(f"{hub}/model.safetensors", f"huggingface.co/depth-anything/{hub}"),
        Published(file, f"huggingface.co/depth-anything/{own}"),
    ]


def _version_1(of: Encoder, source: Path | None) -> Binned:
    relative = _config(of, of.last, depth_estimation_type="relative", max_depth=1)
    kind, bins = transformers_models.transformers().DepthAnythingForDepthEstimation, _bins(of)
    if source is None:
        return Binned(kind(relative), bins)
    core, rest = checkpoint_names.binned_names(transformers_models.read_weights(source))
    transformers_models.load_all(bins, rest, source)
    return Binned(transformers_models.filled(kind, relative, core, source), bins)


def _version_2(of: Encoder, far: float, source: Path | None) -> nn.Module:
    config = _config(of, of.spread, depth_estimation_type="metric", max_depth=int(far))
    kind = transformers_models.transformers().DepthAnythingForDepthEstimation
    if source is None:
        made: nn.Module = kind(config)
        return made
    tensors = checkpoint_names.depth_names(transformers_models.read_weights(source))
    return transformers_models.filled(kind, config, tensors, source)


def _config(of: Encoder, layers: Sequence[int], **kind: Any) -> Any:
    return transformers_models.transformers().DepthAnythingConfig(
        backbone_config=transformers_models.encoder_config(of, layers, as_maps=False),
        patch_size=transformers_models.PATCH,
        reassemble_hidden_size=of.width,
        neck_hidden_sizes=list(of.neck),
        fusion_hidden_size=of.fusion,
        head_hidden_size=_HEAD_WIDTH,
        **kind,
    )


def _bins(of: Encoder) -> nn.Module:
    """64 bins, attractors 16, 8, 4, 1, softplus centres: the defaults of `transformers` and ZoeDepth."""
    transformers_models.transformers()
    from transformers.models.zoedepth.modeling_zoedepth import ZoeDepthMetricDepthEstimationHead

    config = transformers_models.transformers().ZoeDepthConfig(
        bottleneck_features=of.fusion, fusion_hidden_size=of.fusion, num_relative_features=_HEAD_WIDTH
    )
    made: nn.Module = ZoeDepthMetricDepthEstimationHead(config)
    return made


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"teacher.{name}={value} is unknown.", f"Known: {', '.join(known)}")
