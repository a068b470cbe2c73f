"""Surface normal estimation: unit vectors B 3 H W in camera axes, evaluated where `valid` B 1 H W."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.data.augment import denormalise
from evonas.data.base import Source
from evonas.nn.level import Level
from evonas.tasks.base import Batch, Picture
from evonas.tasks.image_means import ImageMeans


class Normals:
    """Surface normal estimation with a cosine loss; the error is the mean angle in degrees, averaged over images."""

    error_name, error_is_mean = "angle", True

    def __init__(self, data: Source, head: Callable[..., nn.Module], name: str) -> None:
        self.name, self.input_size, self.dataset, self._head = name, data.size, data.dataset, head

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head with three unnormalised components per pixel."""
        return self._head(levels, out_channels=3)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """One minus the cosine, over all valid pixels of the batch."""
        apart = 1 - F.cosine_similarity(output, batch["normals"]).unsqueeze(1)
        return (apart * batch["valid"]).sum() / batch["valid"].sum().clamp_min(1)

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, batch: Batch) -> Tensor:
        """One minus the cosine to the teacher's normals."""
        return self.loss(output, {**batch, "normals": teacher_output.detach()})

    def meter(self) -> ImageMeans:
        """A new meter of the angle and the share of pixels within 11.25 degrees."""
        return ImageMeans(_metrics)

    def baseline(self) -> tuple[str, dict[str, float]]:
        """The mean normal of `train`, evaluated on `test`."""
        meter, train = self.meter(), self.dataset("train")
        train.augment = False
        mean = torch.stack([(item["normals"] * item["valid"]).sum((1, 2)) for item in train]).sum(0)
        for item in self.dataset("test"):
            meter.update(mean.view(1, 3, 1, 1), {key: value[None] for key, value in item.items()})
        return "the mean normal", meter.compute()

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """Normals as colours: components from -1 to 1 are mapped to RGB."""
        both = [F.normalize(each.float(), eps=1e-6).cpu() for each in (batch["normals"], output)]
        drawn = [(127.5 + 127.5 * each).byte().permute(0, 2, 3, 1).numpy() for each in both]
        rows = zip(denormalise(batch["image"]), *drawn, strict=True)
        return [dict(zip(("image", "truth", "prediction"), row, strict=True)) for row in rows]


def _metrics(output: Tensor, batch: Batch) -> dict[str, Tensor]:
    angle = F.cosine_similarity(output, batch["normals"].double()).clamp(-1, 1).acos().rad2deg()
    return {"angle": angle, "within_11": angle < 11.25}
