"""Weights that somebody else trained, put into a timm model and sorted.

Legend: N tokens, C channels.
"""

from collections.abc import Mapping

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.timm_weights import match_timm_weights
from evonas.supernets.adoption import Adoption, adopt_equal
from evonas.supernets.elastic_timm.order import norm_scores, sort
from evonas.supernets.elastic_timm.structure import MEAN, Structure

_OURS = "backbone.net."
_POSITIONS = "pos_embed"


def adopt(
    structure: Structure, net: nn.Module, found: Mapping[str, Tensor], widening: str, order: str
) -> Adoption:
    """See `SupernetFamily.adopt`; foreign weights are sorted by their norms, unless `order` is `none`."""
    if any(name.startswith(_OURS) for name in found):
        return adopt_equal(net, found, widening)
    if widening != "zeros":
        raise UserError(f"stage.widening={widening} is not for this network.", "Leave stage.widening out.")
    model: nn.Module = net.backbone.net  # type: ignore[assignment, union-attr]
    given, resized = _on_our_grid(structure, found)
    means = {f"{name}.{MEAN}" for name in structure.centred}
    naming, pairs = match_timm_weights(
        model, given, "The file", structure.model, "network.weights", without=means
    )
    for name in means:
        model.get_buffer(name).zero_()
    if order != "none":
        head: nn.Module = net.head  # type: ignore[assignment]
        sort(structure, model, norm_scores(structure, model, head), head)
    adopted = {f"{_OURS}{name}" for name in pairs}
    padded = tuple(name for name in sorted(adopted) if resized and name.endswith(_POSITIONS))
    floats = [name for name, tensor in net.state_dict().items() if tensor.is_floating_point()]
    used = set(pairs.values())
    return Adoption(
        f"timm or torchvision, by {naming}",
        tuple(name for name in floats if name in adopted and name not in padded),
        padded,
        tuple(name for name in floats if name not in adopted),
        tuple(
            sorted(name for name, tensor in found.items() if name not in used and tensor.is_floating_point())
        ),
    )


def _on_our_grid(structure: Structure, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """The tensors with positions (1 N C) resized as timm does it, and whether they were; both grids are square."""
    wanted = structure.shapes.get(_POSITIONS)
    given = dict(found)
    for name, tensor in found.items():
        is_other = wanted is not None and tensor.ndim == 3 and tensor.shape[1] != wanted[1]
        if is_other and wanted is not None and name.endswith(_POSITIONS) and tensor.shape[2] == wanted[2]:
            side = round((wanted[1] - structure.prefix_tokens) ** 0.5)
            given[name] = resample_abs_pos_embed(
                tensor, [side, side], num_prefix_tokens=structure.prefix_tokens
            )
            return given, True
    return given, False
