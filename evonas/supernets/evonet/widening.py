"""Widening: initialises an EvoNet supernet from a checkpoint of the same or a smaller network.

Tensors of equal shape are loaded; smaller ones are placed inside larger ones, such that a function is preserved and all
new weights receive gradients:

- `zeros`: every subnet that is not larger than the source computes the function of the source. Of two factors that
  meet in a new channel, one is zero and the other keeps its random value (x, C and the columns after them are zero; z,
  B, kernels and hidden rows are random), so its gradient is not zero. With zeros in both factors it would be.
- `copies`: new channels of the SSD width repeat old ones, next to the original and thus in the same head, and share its
  output weight: the largest subnet computes the function of the source. State and MLP widths are not normalised and
  are widened by zeros.

With `zeros` the largest subnet has another function: its LayerNorm includes the new channels, and its heads divide the
channels differently (with `width_slicing: prefix`). Subnets use the first channels overall or of every head, as the
network slices them.

Legend: D width of a stage, I width of the SSD mixer, S state size, M width of the MLP.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import DataError, UserError
from evonas.supernets.adoption import Adoption, first_names
from evonas.supernets.evonet.checkpoint_names import Translation, translate
from evonas.supernets.evonet.segments import Segments

# rows of each segment of a tensor
Widths = tuple[int, ...]
_BLOCK = re.compile(r"backbone\.stages\.(\d+)\.blocks\.\d+\.(.+)\Z")
WIDENINGS = ("zeros", "copies")
# whether the new rows of each segment are zero; other new rows keep their random values
_ZERO_ROWS = {"mixer.token_proj.weight": (True, False, True), "mixer.conv.bias": (True, False, True)}
# matrices whose new columns are zero; no other matrix may be widened in columns
_ZERO_COLUMNS = ("mixer.out_proj.weight", "mlp.fc2.weight")
# tensors whose first segment of rows is the SSD width I
_SSD_ROWS = tuple(
    f"mixer.{part}"
    for part in (
        "gate_proj.weight",
        "token_proj.weight",
        "conv.weight",
        "conv.bias",
        "norm.weight",
        "norm.bias",
    )
)


def adopt(
    segments: Segments, net: nn.Module, found: Mapping[str, Tensor], widening: str = "zeros"
) -> Adoption:
    """Loads a checkpoint in our naming scheme or VSSD's into a supernet, in place; see `SupernetFamily.adopt`."""
    if widening not in WIDENINGS:
        raise UserError(f"stage.widening={widening} is unknown.", f"Choose one of: {', '.join(WIDENINGS)}.")
    translated = translate(found)
    if translated is None:
        raise DataError(
            f"The names of the checkpoint are not known: {first_names(tuple(found))}.",
            "Expected are ours (backbone.stem.enter.0.weight, backbone.stages.0.blocks.0.mixer.gate_proj.weight) "
            "or VSSD's and EvoNAS's (patch_embed.conv1.conv.weight, layers.0.blocks.0.attn.in_proj.weight), "
            "with or without something before them.",
        )
    fitted = _fit(segments, net, translated, widening)
    # counters and vectors over heads may fit by chance; only a matrix indicates that the networks match
    if not any(name.startswith("backbone.") and tensor.ndim > 1 for name, tensor in fitted.new.items()):
        raise _misfit(net, translated)
    net.load_state_dict(fitted.new, strict=False)
    used = {translated.origin[name] for name in fitted.new}
    return Adoption(
        translated.naming,
        tuple(name for name in fitted.new if name not in fitted.padded),
        tuple(fitted.padded),
        tuple(name for name in net.state_dict() if name not in fitted.new),
        tuple(sorted(name for name in found if name not in used)),
    )


@dataclass(frozen=True, slots=True)
class _Fitted:
    new: dict[str, Tensor]
    padded: list[str]


def _fit(segments: Segments, net: nn.Module, source: Translation, widening: str) -> _Fitted:
    fitted = _Fitted({}, [])
    wanted = net.state_dict()
    for name in wanted:
        if name not in source.tensors:
            continue
        mine, theirs = _segments(segments, name, wanted[name]), _source_segments(source.tensors, name)
        place = _Place(name, wanted[name], mine, theirs, widening, *_heads(segments, name))
        if place.is_same(source.tensors[name]):
            fitted.new[name] = source.tensors[name].to(wanted[name].dtype)
        elif place.is_larger(source.tensors[name]):
            fitted.new[name] = place.widened(source.tensors[name].to(wanted[name].dtype))
            fitted.padded.append(name)
    head = [name for name in wanted if name.startswith("head.")]
    if not all(name in fitted.new and name not in fitted.padded for name in head):
        for name in head:
            fitted.new.pop(name, None)
    return _Fitted(fitted.new, [name for name in fitted.padded if name in fitted.new])


@dataclass(frozen=True, slots=True)
class _Place:
    """The target of one tensor.

    Args:
        name: name of the tensor in the network.
        drawn: its current, random values.
        mine: rows of each segment of the target.
        theirs: rows of each segment of the source.
        widening: see the module.
        heads: number of equal parts of the first segment, each of which is widened separately.
        in_heads: the same for columns.
    """

    name: str
    drawn: Tensor
    mine: Widths
    theirs: Widths
    widening: str
    heads: int = 1
    in_heads: int = 1

    def is_same(self, tensor: Tensor) -> bool:
        """Whether shape and segments of the tensor equal those of the target."""
        return tensor.shape == self.drawn.shape and self.mine == self.theirs

    def is_larger(self, tensor: Tensor) -> bool:
        """Whether the target is larger and can be widened from the tensor."""
        if tensor.ndim != self.drawn.ndim or tensor.ndim == 0 or len(self.mine) != len(self.theirs):
            return False
        free = 2 if self.name.endswith(_ZERO_COLUMNS) else 1
        if ".mixer." not in self.name and ".mlp." not in self.name:
            return False
        is_within = all(a >= b for a, b in zip(self.drawn.shape, tensor.shape, strict=True))
        fits = all(a >= b for a, b in zip(self.mine, self.theirs, strict=True))
        return is_within and fits and tensor.shape[free:] == self.drawn.shape[free:]

    def widened(self, tensor: Tensor) -> Tensor:
        """The tensor, placed inside one of the target's shape."""
        if self.name.endswith(_ZERO_COLUMNS):
            return self._columns(tensor)
        zero = next((rows for end, rows in _ZERO_ROWS.items() if self.name.endswith(end)), ())
        drawn, given = self.drawn.split(list(self.mine)), tensor.split(list(self.theirs))
        pieces = []
        for index, (new, old) in enumerate(zip(drawn, given, strict=True)):
            parts = self.heads if index == 0 else 1
            for mine, theirs in zip(new.chunk(parts), old.chunk(parts), strict=True):
                pieces.append(self._rows(mine, theirs, index == 0, bool(zero) and zero[index]))
        return torch.cat(pieces)

    def _rows(self, new: Tensor, old: Tensor, is_first: bool, is_zero: bool) -> Tensor:
        if is_first and self.widening == "copies" and self.name.endswith(_SSD_ROWS):
            return old.repeat_interleave(self._factor(len(new), len(old)), dim=0)
        rest = new[len(old) :]
        return torch.cat([old, torch.zeros_like(rest) if is_zero else rest])

    def _columns(self, tensor: Tensor) -> Tensor:
        old, new = tensor.shape[1], self.drawn.shape[1]
        if self.widening == "zeros" or self.name.endswith("mlp.fc2.weight"):
            parts = tensor.unflatten(1, (self.in_heads, -1))
            return F.pad(parts, (0, (new - old) // self.in_heads)).flatten(1)
        factor = self._factor(new, old)
        # unequal shares, which sum to the original, so that copies receive different gradients
        shares = self.drawn.unflatten(1, (old, factor))
        shares = shares - shares.mean(dim=2, keepdim=True) + (tensor / factor).unsqueeze(2)
        return shares.flatten(1)

    def _factor(self, new: int, old: int) -> int:
        if new % old:
            raise UserError(
                f"stage.widening=copies needs a multiple of {old} channels, got {new}.",
                "Use stage.widening=zeros.",
            )
        return new // old


def _segments(segments: Segments, name: str, tensor: Tensor) -> Widths:
    """The rows of each segment of one of our tensors."""
    block = _BLOCK.match(name)
    if block is not None:
        stage = int(block[1])
        axis, lengths = segments.stored(stage).get(block[2], (1, ()))
        if axis == 0:
            return lengths
    return tuple(tensor.shape[:1])


def _heads(segments: Segments, name: str) -> tuple[int, int]:
    """The number of parts of the first rows, and of the columns, of one of our tensors."""
    block = _BLOCK.match(name)
    if block is None:
        return 1, 1
    stage = int(block[1])
    axis, lengths = segments.stored(stage).get(block[2], (0, ()))
    parts = segments.heads(stage, block[2]) if lengths else 1
    return (parts, 1) if axis == 0 else (1, parts)


def _source_segments(tensors: Mapping[str, Tensor], name: str) -> Widths:
    """The rows of each segment of a source tensor; the size of the mixer's norm is the width of the first."""
    rows = tensors[name].shape[:1]
    mixer, _, part = name.rpartition("mixer.")
    norm = tensors.get(f"{mixer}mixer.norm.weight")
    if not mixer or norm is None or not part.startswith(("token_proj.", "conv.")):
        return tuple(rows)
    states = rows[0] - norm.numel()
    return norm.numel(), states // 2, states - states // 2


def _misfit(net: nn.Module, source: Translation) -> DataError:
    name = next((name for name, tensor in source.tensors.items() if tensor.ndim > 1), "")
    wanted = net.state_dict().get(name)
    shapes = f": {name} is {tuple(source.tensors[name].shape)}" if name else ""
    there = f", here {tuple(wanted.shape)}" if wanted is not None else ""
    return DataError(
        f"No tensor of the checkpoint fits the network{shapes}{there}.",
        "Choose the network it was made for; for VSSD-T and EvoNAS: network=evonet space=evonet",
    )
