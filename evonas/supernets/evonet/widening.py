"""Taking over weights: whole tensors where they fit, small ones inside larger ones.

A larger network is widened so that something stays exactly as it was, and nothing is dead:

- `zeros`: every subnet that is not larger than the source computes what the source computes.
  Of each pair of factors that meet in a new channel one is zero and the other stays as it
  was drawn (x, C, the columns behind them are zero; z, B, kernels, hidden rows are drawn),
  so the first update already moves it. Zeros in both would never learn.
- `copies`: new inner channels repeat old ones, each beside its original and so in its head,
  and share its output weight between them: the largest subnet computes what the source
  computes. State and hidden widths have no normalisation over them and are widened by zeros.

With `zeros` the largest subnet cannot keep the function: its LayerNorm spans the new
channels too, and its heads divide the channels otherwise (with `slice: prefix`). Subnets are
understood as the network slices them: by the first channels of all, or of every head.

Legend: D width of a stage, I inner width, S state size, M hidden width.
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
# segments whose new rows are zero; the other new rows stay as they were drawn
_SILENT_ROWS = {"mixer.token_proj.weight": (True, False, True), "mixer.conv.bias": (True, False, True)}
# matrices whose new columns are zero; no other matrix may get columns
_SILENT_COLUMNS = ("mixer.out_proj.weight", "mlp.fc2.weight")
# tensors whose first segment of rows is the inner width I
_INNER_ROWS = tuple(
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
    """Put a checkpoint in our naming or in VSSD's into a supernet, in place; see `SupernetFamily.adopt`."""
    if widening not in WIDENINGS:
        raise UserError(f"stage.widening={widening} is unknown.", f"Choose one of: {', '.join(WIDENINGS)}.")
    translated = translate(found)
    if translated is None:
        raise _unknown(found)
    fitted = _fit(segments, net, translated, widening)
    # counters and vectors of heads fit anywhere; only a matrix shows that the networks are alike
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
    """Where one tensor goes.

    Args:
        name: ours.
        drawn: what is there now.
        mine: rows of each segment there; likewise `theirs` in the source.
        widening: see the module's text.
        heads: equal parts of the first segment, each of which is widened on its own.
        in_heads: likewise of the columns.
    """

    name: str
    drawn: Tensor
    mine: Widths
    theirs: Widths
    widening: str
    heads: int = 1
    in_heads: int = 1

    def is_same(self, tensor: Tensor) -> bool:
        """Whether the tensor fits as it is, segment by segment."""
        return tensor.shape == self.drawn.shape and self.mine == self.theirs

    def is_larger(self, tensor: Tensor) -> bool:
        """Whether the tensor fits inside."""
        if tensor.ndim != self.drawn.ndim or tensor.ndim == 0 or len(self.mine) != len(self.theirs):
            return False
        free = 2 if self.name.endswith(_SILENT_COLUMNS) else 1
        if ".mixer." not in self.name and ".mlp." not in self.name:
            return False
        is_within = all(a >= b for a, b in zip(self.drawn.shape, tensor.shape, strict=True))
        fits = all(a >= b for a, b in zip(self.mine, self.theirs, strict=True))
        return is_within and fits and tensor.shape[free:] == self.drawn.shape[free:]

    def widened(self, tensor: Tensor) -> Tensor:
        """The tensor, inside one of the larger shape."""
        if self.name.endswith(_SILENT_COLUMNS):
            return self._columns(tensor)
        silent = next((rows for end, rows in _SILENT_ROWS.items() if self.name.endswith(end)), ())
        drawn, given = self.drawn.split(list(self.mine)), tensor.split(list(self.theirs))
        pieces = []
        for index, (new, old) in enumerate(zip(drawn, given, strict=True)):
            parts = self.heads if index == 0 else 1
            for mine, theirs in zip(new.chunk(parts), old.chunk(parts), strict=True):
                pieces.append(self._rows(mine, theirs, index == 0, bool(silent) and silent[index]))
        return torch.cat(pieces)

    def _rows(self, new: Tensor, old: Tensor, is_inner: bool, is_silent: bool) -> Tensor:
        if is_inner and self.widening == "copies" and self.name.endswith(_INNER_ROWS):
            return old.repeat_interleave(self._factor(len(new), len(old)), dim=0)
        rest = new[len(old) :]
        return torch.cat([old, torch.zeros_like(rest) if is_silent else rest])

    def _columns(self, tensor: Tensor) -> Tensor:
        old, new = tensor.shape[1], self.drawn.shape[1]
        if self.widening == "zeros" or self.name.endswith("mlp.fc2.weight"):
            parts = tensor.unflatten(1, (self.in_heads, -1))
            return F.pad(parts, (0, (new - old) // self.in_heads)).flatten(1)
        factor = self._factor(new, old)
        # unequal shares, so that copies do not learn alike; they add up to the original
        shares = self.drawn.unflatten(1, (old, factor))
        shares = shares - shares.mean(dim=2, keepdim=True) + (tensor / factor).unsqueeze(2)
        return shares.flatten(1)

    def _factor(self, new: int, old: int) -> int:
        if new % old:
            raise UserError(
                f"stage.widening=copies cannot make {new} inner channels out of {old}.",
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
    """Parts of the first rows, and of the columns, of one of our tensors."""
    block = _BLOCK.match(name)
    if block is None:
        return 1, 1
    stage = int(block[1])
    axis, lengths = segments.stored(stage).get(block[2], (0, ()))
    parts = segments.heads(stage, block[2]) if lengths else 1
    return (parts, 1) if axis == 0 else (1, parts)


def _source_segments(tensors: Mapping[str, Tensor], name: str) -> Widths:
    """Likewise in the source, where the width of the mixer's norm says where segments end."""
    rows = tensors[name].shape[:1]
    mixer, _, part = name.rpartition("mixer.")
    norm = tensors.get(f"{mixer}mixer.norm.weight")
    if not mixer or norm is None or not part.startswith(("token_proj.", "conv.")):
        return tuple(rows)
    states = rows[0] - norm.numel()
    return norm.numel(), states // 2, states - states // 2


def _unknown(found: Mapping[str, Tensor]) -> DataError:
    return DataError(
        f"The names of the checkpoint are not known: {first_names(tuple(found))}.",
        "Expected are ours (backbone.stem.enter.0.weight, backbone.stages.0.blocks.0.mixer.gate_proj.weight) "
        "or VSSD's and EvoNAS's (patch_embed.conv1.conv.weight, layers.0.blocks.0.attn.in_proj.weight), "
        "with or without something before them.",
    )


def _misfit(net: nn.Module, source: Translation) -> DataError:
    name = next((name for name, tensor in source.tensors.items() if tensor.ndim > 1), "")
    wanted = net.state_dict().get(name)
    shapes = f": {name} is {tuple(source.tensors[name].shape)}" if name else ""
    there = f", here {tuple(wanted.shape)}" if wanted is not None else ""
    return DataError(
        f"No tensor of the checkpoint fits the network{shapes}{there}.",
        "Choose the network it was made for; for VSSD-T and EvoNAS: network=evonet space=evonet",
    )
