"""Pretrained classifiers of timm as a frozen teacher, alone or several together.

Legend: B batch, C channels, H W space, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.nn.timm_weights import load_timm_weights
from evonas.train.teachers.base import Origin
from evonas.train.teachers.transformers_models import FrozenNetwork

# side of the image that determines the stride of the last map
_PROBE = 64
_TINY = "resnet10t"
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")


class TimmClassifiers(FrozenNetwork):
    """Whole classifiers of timm with their published weights; nothing of them is trained.

    The output are logits: those of a single network divided by the temperature, or the logarithm of the mean of all
    networks' probabilities at the temperature (the two teachers of ElasticViT, at 0.2).

    Args:
        names: timm's name of each network, with or without the tag of its weights.
        classes: number of classes.
        weights: the file of each network, in the layout of timm or torchvision; None for files of these names in
            `folder`.
        folder: folder of teachers' weights.
        temperature: of the softmax of the teachers alone.
        size: `tiny` for one small network with random weights in place of these, for trials; anything else for these.

    Raises:
        UserError: timm has no such network, a file is missing, or a network has no map.
        DataError: a file belongs to another network.
    """

    def __init__(
        self,
        names: Sequence[str],
        classes: int,
        weights: Sequence[str] | None = None,
        folder: str = "teachers",
        temperature: float = 1.0,
        size: str = "large",
    ) -> None:
        if not temperature > 0:
            raise UserError(
                f"teacher.temperature must be positive, got {temperature}.", "Try teacher.temperature=1."
            )
        if isinstance(names, str) or not names or (weights is not None and len(weights) != len(names)):
            raise UserError(
                f"teacher.names and teacher.weights need an entry for each network, got {names} and {weights}.",
                "Try teacher.names=[resnet50] teacher.weights=[<file>].",
            )
        files = [] if size == "tiny" else _found(names, weights, Path(folder))
        made = [_classifier(name, classes) for name in (names if files else [_TINY])]
        for name, net, file in zip(names, made, files, strict=False):
            load_timm_weights(net, file, f"timm:{name}", "teacher.weights")
        super().__init__(nn.ModuleList(made), None)
        if files:
            assert self.origin is not None
            self.origin = Origin(", ".join(map(str, files)), self.origin.sha256)
        self.temperature = float(temperature)
        with torch.no_grad():
            last = _features(self.network[0], torch.zeros(1, 3, _PROBE, _PROBE))
        self.levels = (Level(last.shape[1], _PROBE // last.shape[-1]),)

    def forward(self, x: Tensor) -> Tensor:
        """Logits B K."""
        return self.forward_with_features(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits B K, and the last map of the first network, B C H W."""
        maps = [_features(net, x) for net in self.network]
        logits = [
            net.forward_head(features) / self.temperature
            for net, features in zip(self.network, maps, strict=True)
        ]
        if len(logits) == 1:
            return logits[0], maps[:1]
        return torch.stack([each.log_softmax(1) for each in logits]).logsumexp(0), maps[:1]


def _found(names: Sequence[str], weights: Sequence[str] | None, folder: Path) -> list[Path]:
    """The file of each network."""
    found = list[Path]()
    for index, name in enumerate(names):
        places = [folder / f"{name}{ending}" for ending in _ENDINGS]
        places = places if weights is None else [Path(weights[index])]
        file = next((each for each in places if each.is_file()), None)
        if file is None:
            raise UserError(
                f"The weights of the teacher {name} are missing: {places[0]} does not exist.",
                f"Download them from https://huggingface.co/timm/{name}, then set teacher.weights=[<file>, ...].",
            )
        found.append(file)
    return found


def _classifier(name: str, classes: int) -> nn.Module:
    try:
        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"teacher.names={name} is not a classifier of timm: {error}.", "See timm.list_models()."
        ) from error
    return made


def _features(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.forward_features(x)
    if found.ndim != 4:
        raise UserError(
            "teacher.names must be convolutional networks, whose last features are a map.",
            "Try teacher.names=[resnext101_32x4d].",
        )
    return found
