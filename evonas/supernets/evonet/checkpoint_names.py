"""Converts parameter names of published EvoNet checkpoints into ours.

VSSD (arXiv 2407.18559) and EvoNAS (arXiv 2603.19563) publish state dicts of the same network, with the input
projections of a mixer in one matrix whose rows are z, x, B, C, dt. Names and row order are those of the public
repositories YuHengsss/VSSD and EMI-Group/evonas. `widening.py` loads converted tensors into a network.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

# beginning of a name in our scheme and in theirs, after a prefix such as `module.`
_OURS = re.compile(r"^(.*?)(?:stem\.\w+\.[01]|stages\.\d+\.(?:blocks|norm)|merges\.\d+\.\w+)\.")
_THEIRS = re.compile(r"^(.*?)(?:patch_embed\.conv\d|layers\.\d+\.(?:blocks|downsample)|outnorm\d)\.")
_RENAMED = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^patch_embed\.conv1\.", "stem.enter."),
        (r"^patch_embed\.conv2\.0\.", "stem.first."),
        (r"^patch_embed\.conv2\.1\.", "stem.second."),
        (r"^patch_embed\.conv3\.0\.", "stem.widen."),
        (r"^patch_embed\.conv3\.1\.", "stem.leave."),
        (r"^(stem\.\w+)\.conv\.", r"\1.0."),
        (r"^(stem\.\w+)\.norm\.", r"\1.1."),
        (r"^layers\.(\d+)\.downsample\.conv\.0\.conv\.", r"merges.\1.enter."),
        (r"^layers\.(\d+)\.downsample\.conv\.1\.conv\.", r"merges.\1.halve."),
        (r"^layers\.(\d+)\.downsample\.conv\.2\.conv\.", r"merges.\1.leave."),
        (r"^layers\.(\d+)\.downsample\.conv\.2\.norm\.", r"merges.\1.norm."),
        (r"^layers\.(\d+)\.blocks\.", r"stages.\1.blocks."),
        (r"^outnorm(\d+)\.", r"stages.\1.norm."),
        (r"\.attn\.to_qkv\.", ".mixer.qkv."),
        (r"\.attn\.to_out\.", ".mixer.out."),
        (r"\.attn\.conv2d\.", ".mixer.conv."),
        (r"\.attn\.", ".mixer."),
    )
)
_IN_PROJ = "mixer.in_proj.weight"


@dataclass(frozen=True, slots=True)
class Translation:
    """A checkpoint with our names, those of `Supernet.state_dict()`.

    Args:
        naming: naming scheme of the file: `evonas` or `vssd`.
        tensors: tensors by our name.
        origin: maps our name to the name in the file.
    """

    naming: str
    tensors: Mapping[str, Tensor]
    origin: Mapping[str, str]


def translate(found: Mapping[str, Tensor]) -> Translation | None:
    """The checkpoint with our names; None if its naming scheme is unknown.

    Prefixes such as `module.` or `encoder.` are removed. Names without a counterpart are dropped, so tensors that are
    not in `origin` are unused.
    """
    for naming, pattern in (("evonas", _OURS), ("vssd", _THEIRS)):
        # a file may contain several networks: the most common prefix is used
        prefixes = Counter(match[1] for name in found if (match := pattern.match(name)))
        if prefixes:
            bare = _without_prefix(found, prefixes.most_common(1)[0][0])
            renamed = _ours(bare) if naming == "evonas" else _theirs(bare)
            tensors = {name: found[origin] for name, origin in renamed.items()}
            return _split(Translation(naming, tensors, renamed))
    return None


def _without_prefix(found: Mapping[str, Tensor], prefix: str) -> dict[str, str]:
    """Maps names without prefix to names in the file; heads are beside `backbone.`, not in it."""
    bare = {name.removeprefix(prefix): name for name in found if name.startswith(prefix)}
    outer = prefix.removesuffix("backbone.")
    heads = {name.removeprefix(outer): name for name in found if name.startswith(f"{outer}head.")}
    return {**heads, **bare}


def _ours(bare: Mapping[str, str]) -> dict[str, str]:
    """Maps our names to names in the file, for a file in our naming scheme."""
    known = (name for name in bare if name.startswith("head.") or _OURS.match(name))
    return {name if name.startswith("head.") else f"backbone.{name}": bare[name] for name in known}


def _theirs(bare: Mapping[str, str]) -> dict[str, str]:
    """Maps our names to names in the file, for a file in VSSD's naming scheme."""
    renamed = {f"backbone.{_renamed(name)}": bare[name] for name in bare if _THEIRS.match(name)}
    stages = [int(match[1]) for name in renamed if (match := re.match(r"backbone\.stages\.(\d+)", name))]
    for kind in ("weight", "bias"):
        # a classifier ends with norm, mean and linear; its norm is that of the deepest level
        last = f"backbone.stages.{max(stages, default=0)}.norm.{kind}"
        if f"norm.{kind}" in bare and last not in renamed:
            renamed[last] = bare[f"norm.{kind}"]
        if f"head.{kind}" in bare:
            renamed[f"head.linear.{kind}"] = bare[f"head.{kind}"]
    return renamed


def _renamed(name: str) -> str:
    for pattern, ours in _RENAMED:
        name = pattern.sub(ours, name)
    return name


def _split(whole: Translation) -> Translation:
    """Splits matrices with the rows z, x, B, C, dt into gate (z), tokens (x, B, C) and steps (dt)."""
    tensors, origin = dict(whole.tensors), dict(whole.origin)
    for name in [name for name in tensors if name.endswith(_IN_PROJ)]:
        mixer = name.removesuffix("in_proj.weight")
        matrix, source = tensors.pop(name), origin.pop(name)
        norm, heads = tensors.get(f"{mixer}norm.weight"), tensors.get(f"{mixer}dt_bias")
        if norm is None or heads is None:
            continue
        inner, steps = norm.numel(), heads.numel()
        parts = matrix.split((inner, len(matrix) - inner - steps, steps))
        for part, tensor in zip(("gate_proj", "token_proj", "step_proj"), parts, strict=True):
            tensors[f"{mixer}{part}.weight"], origin[f"{mixer}{part}.weight"] = tensor, source
    return Translation(whole.naming, tensors, origin)
