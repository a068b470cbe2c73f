"""Exported networks for a user's own code: `from evonas import load`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

from torch import Tensor, nn

from evonas.errors import UserError
from evonas.run import Run, find_run
from evonas.stages.networks.exported import CONFIG, feature_indices, load_backbone, load_exported
from evonas.supernets.backbone import Backbone
from evonas.supernets.resolution import at_full_size
from evonas.supernets.static_net import StaticNet

_RUN = "run:"


class FeatureMaps(nn.Module):
    """A backbone with the interface of timm's `features_only`: images to maps, described by `feature_info`.

    Args:
        backbone: with its weights.
        out_indices: levels that are returned, 0 for the finest; None for all.

    Raises:
        UserError: there is no such level.
    """

    def __init__(self, backbone: Backbone, out_indices: Sequence[int] | None = None) -> None:
        # importing timm is slow, and only this class needs it
        from timm.models import FeatureInfo

        super().__init__()
        self.backbone = backbone
        # each map passes through a module of its own, for hooks
        self.levels = nn.ModuleList(nn.Identity() for _ in backbone.levels)
        self.feature_info = FeatureInfo(
            [
                {"num_chs": level.channels, "reduction": level.stride, "module": f"levels.{at}"}
                for at, level in enumerate(backbone.levels)
            ],
            feature_indices(backbone, out_indices),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images B 3 H W to one map B C H/s W/s for each of `feature_info.out_indices`."""
        maps = at_full_size(self.backbone(x), self.backbone, x.shape[-2:])
        return [self.levels[index](maps[index]) for index in self.feature_info.out_indices]


@overload
def load(
    reference: str | Path,
    outputs: str | Path = "outputs",
    *,
    features_only: Literal[False] = False,
    out_indices: None = None,
) -> StaticNet:
    """The whole network."""


@overload
def load(
    reference: str | Path,
    outputs: str | Path = "outputs",
    *,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
) -> FeatureMaps:
    """Its backbone."""


def load(
    reference: str | Path,
    outputs: str | Path = "outputs",
    *,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> StaticNet | FeatureMaps:
    """An exported network in eval mode on the CPU: `net(images)`, `net.features(images)`.

    Args:
        reference: `run:<run>#<name>`, where `run:last` is the newest run, or an export folder.
        outputs: the folder of the runs.
        features_only: return the backbone alone, with timm's `feature_info`, whatever the head is.
        out_indices: with `features_only`, the levels that are returned; None for all.

    Raises:
        UserError: there is no such run, exported network or level.
        DataError: the export is damaged.
    """
    folder = _folder(str(reference), Path(outputs))
    if features_only:
        return FeatureMaps(load_backbone(folder), out_indices).eval()
    if out_indices is not None:
        raise UserError("out_indices chooses among feature maps.", "Add features_only=True.")
    return load_exported(folder)


def _folder(text: str, outputs: Path) -> Path:
    """The export folder of a reference."""
    if not text.startswith(_RUN):
        return Path(text)
    name, _, net = text.removeprefix(_RUN).partition("#")
    folder = find_run(outputs, name) / "export"
    known = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if not known:
        hint = f"Make them with: {Run(folder.parent, '').command('export')}"
        raise UserError(f"Run '{folder.parent.name}' has exported no network.", hint)
    if net not in known:
        raise UserError(f"Run '{folder.parent.name}' has exported no '{net}'.", f"It has: {', '.join(known)}")
    return folder / net
