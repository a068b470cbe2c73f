"""Decoders of TransNAS-Bench-101's dense tasks (Duan et al., CVPR 2021).

The layers are inferred from the published counts of parameters and operations, which they match exactly (on 512
channels 11 024 177 and 22 871 859 parameters, whichever layers upsample). Convolutions are 3x3 with a bias; all but
the last are followed by batch norm and leaky ReLU.
Legend: B batch, C channels, H W space.
"""

from torch import nn

from evonas.errors import UserError

# channels, and from how many doublings of the resolution on the layer upsamples by 2; None: never
_Plan = tuple[tuple[int, int | None], ...]
_SEGMENTATION: _Plan = ((1024, None), (512, 6), (256, 5), (128, 4), (64, 3), (32, 2), (32, 1))
_GENERATION: _Plan = (
    (1024, None), (1024, None), (512, 6), (512, None), (256, 5), (128, None), (64, 4),
    (64, None), (32, 3), (32, None), (16, 2), (32, None), (16, 2),
)  # fmt: skip
_SLOPE = 0.2
# doublings for which the benchmark has decoders: inputs at stride 8 to 64
FEWEST, MOST = 3, 6


def segmentation_decoder(channels: int, classes: int, doublings: int = 5) -> nn.Sequential:
    """Decoder of per-pixel logits.

    Args:
        channels: channels of the input.
        classes: number of classes.
        doublings: how often the resolution is doubled, from 3 to 6; the input's stride is 2^doublings.

    Raises:
        UserError: there is no decoder for so many doublings.
    """
    return _decoder(channels, _SEGMENTATION, classes, doublings)


def generation_decoder(channels: int, out_channels: int, doublings: int = 5) -> nn.Sequential:
    """Decoder of images in (-1, 1) (surface normals, autoencoding).

    Args:
        channels: channels of the input.
        out_channels: channels of the images.
        doublings: how often the resolution is doubled, from 3 to 6; the input's stride is 2^doublings.

    Raises:
        UserError: there is no decoder for so many doublings.
    """
    return _decoder(channels, _GENERATION, out_channels, doublings).append(nn.Tanh())


def _decoder(channels: int, plan: _Plan, out_channels: int, doublings: int) -> nn.Sequential:
    if not FEWEST <= doublings <= MOST:
        raise UserError(
            f"doublings={doublings} is not {FEWEST} to {MOST}, for which TransNAS-Bench-101 has decoders.",
            f"Use maps at stride {2**FEWEST} to {2**MOST}.",
        )
    layers: list[nn.Module] = []
    for width, least in plan:
        layers.append(
            nn.ConvTranspose2d(channels, width, 3, 2, padding=1, output_padding=1)
            if least is not None and doublings >= least
            else nn.Conv2d(channels, width, 3, padding=1)
        )
        layers += [nn.BatchNorm2d(width), nn.LeakyReLU(_SLOPE)]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 3, padding=1))
