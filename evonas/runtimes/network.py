"""A network as a runtime computes it, in the place of the network.

Legend: B batch, H W space.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evonas.runtimes.base import Prepared, Runtime


class RuntimeNetwork(nn.Module):
    """Computes the output of a network in a runtime, image by image, for images of any size.

    The network is converted once for each size of images. Its weights are no parameters of this module.

    Args:
        net: in eval mode on the CPU, with one output.
        runtime: of one image a pass.
        calibration: images of the training split, B 3 H W each, for int8.
    """

    def __init__(self, net: nn.Module, runtime: Runtime, calibration: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self._of = (net,)
        self._runtime, self._calibration = runtime, calibration
        self._known: dict[tuple[int, ...], Prepared] = {}

    def forward(self, images: Tensor) -> Tensor:
        """The output for images B 3 H W, on their device."""
        prepared = self.prepared(images[:1].cpu())
        outputs = [prepared.run(image)[0] for image in images.cpu().split(1)]
        return torch.cat(outputs).to(images.device)

    def prepared(self, image: Tensor) -> Prepared:
        """The network in the runtime for images of the size of one, 1 3 H W."""
        shape = tuple(image.shape[1:])
        if shape not in self._known:
            self._known[shape] = self._runtime.prepare(self._of[0], image, self._calibration)
        return self._known[shape]

    @property
    def size(self) -> int | None:
        """Bytes of the model as it is shipped; None where the runtime has no format, or before the first image."""
        return next((each.size for each in self._known.values()), None)

    def close(self) -> None:
        """Frees what the runtime holds."""
        for each in self._known.values():
            each.close()
        self._known.clear()
