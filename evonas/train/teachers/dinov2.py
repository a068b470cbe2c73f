"""DINOv2 (arXiv 2304.07193) as the frozen backbone of a teacher.

Legend: B batch, H W space.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evonas.nn.level import Level
from evonas.train.teachers import checkpoint_names, transformers_models
from evonas.train.teachers.transformers_models import Published


class DINOv2Backbone(transformers_models.FrozenNetwork):
    """A frozen DINOv2 backbone: the normalised outputs of its last four layers, stride 14.

    Args:
        size: small, base, large, or tiny (a few random layers, for tests).
        weights: weights file; None searches `folder` for the published one.
        folder: folder of teachers' weights.
        input_size: height and width of the network's input, multiples of 14; None keeps the size of the images and
            pads them with zeros, right and below, to multiples of 14.
        head: whether the task's head is trained on the maps.
        head_settings: keywords of the task's head that differ from those of the student.

    Raises:
        UserError: an argument is unknown, or the weights are missing.
        DataError: the file contains another network.
    """

    def __init__(
        self,
        size: str = "large",
        weights: str | None = None,
        folder: str = "",
        input_size: Sequence[int] | None = None,
        head: bool = True,
        head_settings: Mapping[str, Any] | None = None,
    ) -> None:
        of = transformers_models.encoder(size)
        source = transformers_models.find_weights(weights, folder, published(size), size, f"dinov2 {size}")
        kind = transformers_models.transformers().Dinov2Backbone
        config = transformers_models.encoder_config(of, of.last, as_maps=True)
        if source is None:
            network = kind(config)
        else:
            tensors = checkpoint_names.encoder_names(transformers_models.read_weights(source))
            network = transformers_models.filled(kind, config, tensors, source)
        super().__init__(network, source)
        self.has_output, self.scales = head, input_size is not None
        self.head_settings = head_settings
        self.input_size = None if input_size is None else transformers_models.check_input(input_size)
        self.levels = tuple(Level(of.width, transformers_models.PATCH) for _ in of.last)

    @torch.no_grad()
    def forward(self, x: Tensor) -> list[Tensor]:
        """Four maps of the same size, shallowest layer first."""
        return list(self.network(transformers_models.network_input(x, self.input_size)).feature_maps)

    def restored(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """The output of a dense head, resized to `size`, or cropped to it if images were padded."""
        return transformers_models.restored(output, size, self.input_size)


def published(size: str) -> list[Published]:
    """The published weights files, in hub format and in original format."""
    if size == "tiny":
        return []
    return [
        Published(f"dinov2-{size}/model.safetensors", f"huggingface.co/facebook/dinov2-{size}"),
        Published(f"dinov2_vit{size[0]}14_pretrain.pth", "github.com/facebookresearch/dinov2"),
    ]
