"""LPIPS, a perceptual distance of images (Zhang et al. 2018, arXiv 1801.03924).

Legend: B batch, H W space.
"""

from pathlib import Path

import torch
import torchmetrics.functional.image.lpips as published
from jaxtyping import Float
from torch import Tensor, nn

from evonas import weights
from evonas.errors import DataError

# torchmetrics contains the five linear layers, but not ImageNet's VGG-16
LINEAR = Path(published.__file__).parent / "lpips_models" / "vgg.pth"


class Perceptual(nn.Module):
    """LPIPS with a frozen VGG-16.

    Args:
        features: file of torchvision's VGG-16 for ImageNet, vgg16-397923af.pth; nothing is downloaded.

    Raises:
        DataError: the file contains other weights.
    """

    def __init__(self, features: str) -> None:
        super().__init__()
        with torch.device("meta"):
            self.network = published._LPIPS(pretrained=False, net="vgg", pnet_rand=True)
        self.network.to_empty(device="cpu")
        # ImageNet's mean and deviation, the only part that is not loaded
        self.network.scaling_layer = published.ScalingLayer()
        own = self.network.net.state_dict()
        found = weights.load_foreign(Path(features))
        # the slices use torchvision's layer numbers
        renamed = {name: found.get(f"features.{name.partition('.')[2]}") for name in own}
        wrong = [
            name for name, tensor in renamed.items() if tensor is None or tensor.shape != own[name].shape
        ]
        if wrong:
            raise DataError(
                f"{features} is not torchvision's VGG-16: {wrong[0]} does not fit.",
                "Set the path of vgg16-397923af.pth.",
            )
        self.network.net.load_state_dict(renamed)
        self.network.load_state_dict(weights.load_foreign(LINEAR), strict=False)
        self.requires_grad_(False).eval()

    def forward(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """The distance of each pair of images in [0, 1]; 0 for equal ones."""
        return self.network(a, b, normalize=True).flatten()

    def train(self, mode: bool = True) -> "Perceptual":  # noqa: ARG002
        """Keeps eval mode."""
        return super().train(False)
