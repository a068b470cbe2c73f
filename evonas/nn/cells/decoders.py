"""Decoders of TransNAS-Bench-101's dense tasks (Duan et al., CVPR 2021).

The layers are inferred from the published counts of parameters and operations, which they match exactly (11 024 177
and 22 871 859 parameters on 512 channels). Convolutions are 3x3 with a bias; all but
the last are followed by batch norm and leaky ReLU.
Legend: B batch, C channels, H W space.
"""

from torch import nn

# channels, and whether the layer upsamples by 2
_SEGMENTATION = (
    (1024, False), (512, False), (256, True), (128, True), (64, True), (32, True), (32, True),
)  # fmt: skip
_GENERATION = (
    (1024, False), (1024, False), (512, False), (512, False), (256, True), (128, False), (64, True),
    (64, False), (32, True), (32, False), (16, True), (32, False), (16, True),
)  # fmt: skip
_SLOPE = 0.2


def segmentation_decoder(channels: int, classes: int) -> nn.Sequential:
    """Decoder of per-pixel logits, with 32 times the input's resolution."""
    return _decoder(channels, _SEGMENTATION, classes)


def generation_decoder(channels: int, out_channels: int) -> nn.Sequential:
    """Decoder of images in (-1, 1) (surface normals, autoencoding), with 32 times the input's resolution."""
    return _decoder(channels, _GENERATION, out_channels).append(nn.Tanh())


def _decoder(channels: int, plan: tuple[tuple[int, bool], ...], out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, doubles in plan:
        layers.append(
            nn.ConvTranspose2d(channels, width, 3, 2, padding=1, output_padding=1)
            if doubles
            else nn.Conv2d(channels, width, 3, padding=1)
        )
        layers += [nn.BatchNorm2d(width), nn.LeakyReLU(_SLOPE)]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 3, padding=1))
