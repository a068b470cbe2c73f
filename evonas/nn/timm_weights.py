"""Weights of timm and torchvision models, loaded into a timm network.

A file may be a timm or a torchvision checkpoint, of a whole classifier or of its features, safetensors or `.pth`, with
the wrappers that `weights.load_foreign` knows and any prefix before the names (`module.`, `backbone.`, `model.`, ...).
Two ways to match its tensors are tried:

1. *by name*. `features_only` networks join the first parts of a name with `_` (`stages_0.blocks`), so `_` and `.` count
   as equal.
2. *by order*, for a torchvision model that timm builds under other names: the i-th module of the network takes the
   i-th module of the file, if each has the same tensors with the same shapes. Only modules at the file's end, its
   classifier, may be left over. A `.pth` keeps the order of its model; a safetensors file does not, so its names are
   sorted with their numbers as numbers, which restores the order of torchvision's nested sequences. Constants such as
   the epsilon of a batch norm are the network's, not the file's.

A file that fits neither way belongs to another network and is refused as a whole: nothing is loaded in part.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from evonas import files, weights
from evonas.errors import DataError, UserError

# what distributed training, detectors, segmenters and our own checkpoints put before the names of a backbone
_PREFIXES = ("module.", "body.network.", "backbone.body.", "backbone.", "encoder.", "network.", "model.")
_CLASSIFIERS = ("classifier", "fc", "head", "heads")
_HUB = re.compile(r"(?:hf[-_]hub:)?(?P<repository>[\w.-]+/[\w.-]+)")


@dataclass(frozen=True, slots=True)
class Matched:
    """What a weights file gave to a network.

    Args:
        file: the weights file.
        sha256: digest of its bytes.
        loaded: number of tensors that were loaded: all of the network.
        by: `name` or `order`.
        unused: names in the file that the network has no use for, such as the classifier's.
    """

    file: str
    sha256: str
    loaded: int
    by: str
    unused: tuple[str, ...] = ()

    def text(self) -> str:
        """One line that says what was matched."""
        rest = ""
        if self.unused:
            more = ", ..." if len(self.unused) > 3 else ""
            rest = f"; {len(self.unused)} others in the file are unused ({', '.join(self.unused[:3])}{more})"
        return f"{self.loaded} tensors from {self.file}, matched by {self.by}{rest}"


def load_timm_weights(
    module: nn.Module, path: Path, name: str = "the network", key: str = "weights"
) -> Matched:
    """Load a checkpoint into a timm network in place; all of its tensors are found, or none is changed.

    Args:
        module: the network, whole or `features_only`, without a wrapper of ours around it.
        path: a safetensors, `.pth` or `.pt` file in the layout of timm or torchvision.
        name: the network's timm name, for messages.
        key: what a user typed to name the file, for messages.

    Raises:
        UserError: there is no such file; a hub id is answered with what to download.
        DataError: the file holds no tensors, or those of another network.
    """
    check_file(path, name, key)
    given = weights.load_foreign(path)
    keeps_order = path.suffix != ".safetensors"
    by, pairs = match_timm_weights(module, given, f"{key}={path}", name, key, keeps_order)
    used, floats = set(pairs.values()), (each for each, tensor in given.items() if tensor.is_floating_point())
    return Matched(str(path), files.sha256(path), len(pairs), by, tuple(sorted(set(floats) - used)))


def check_file(path: Path, name: str, key: str) -> None:
    """Refuse what is not a file before anything is built.

    Args:
        path, name, key: as for `load_timm_weights`.

    Raises:
        UserError: there is no such file; a hub id is answered with what to download.
    """
    if not path.is_file():
        raise UserError(f"{key}={path} is not a file.", _how_to_get(str(path), name, key))


def match_timm_weights(
    module: nn.Module,
    found: Mapping[str, Tensor],
    source: str,
    name: str = "the network",
    key: str = "weights",
    keeps_order: bool = False,
    without: Collection[str] = (),
) -> tuple[str, dict[str, str]]:
    """Load a checkpoint's tensors into a timm network in place; all of its own are found, or none is changed.

    Args:
        module: as for `load_timm_weights`.
        found: the checkpoint's tensors.
        source: what they are, for messages.
        name: the network's timm name, for messages.
        key: what a user typed to name the file, for messages.
        keeps_order: whether the tensors come in the order of their model; else their names are sorted.
        without: names of tensors of the network that checkpoints do not have.

    Returns:
        `name` or `order`, and the tensor of the checkpoint for each of the network.

    Raises:
        DataError: they are those of another network.
    """
    wanted: dict[str, Tensor] = {
        each: tensor
        for each, tensor in module.state_dict().items()
        if tensor.is_floating_point() and each not in without
    }
    # integers are counters and indices, which each network makes for itself
    given = {each: tensor for each, tensor in found.items() if tensor.is_floating_point()}
    by, pairs = "name", _by_name(wanted, given)
    if not _is_complete(wanted, given, pairs) or _extra(wanted, given, pairs):
        in_order = _by_order(wanted, given if keeps_order else dict(sorted(given.items(), key=_natural)))
        if in_order is None:
            raise DataError(_mismatch(wanted, given, pairs, source, name), _advice(name, key))
        by, pairs = "order", in_order
    state = {target: given[origin].reshape(wanted[target].shape) for target, origin in pairs.items()}
    module.load_state_dict(state, strict=False)
    return by, pairs


def _is_complete(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], pairs: Mapping[str, str]) -> bool:
    return len(pairs) == len(wanted) and all(
        wanted[target].shape == given[source].shape for target, source in pairs.items()
    )


def _by_name(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """Target name to the file's name, whatever their shapes, under the prefix that finds most."""
    keys = {each: _key(each) for each in wanted}
    if all(each.startswith("model.") for each in wanted):
        # networks whose features are read by hooks lie below `model`
        keys = {each: key.removeprefix("model.") for each, key in keys.items()}
    sources = {_key(each): each for each in given}
    first = next(iter(keys.values()))
    starts = {each.removesuffix(first) for each in sources if each == first or each.endswith(f".{first}")}
    best: dict[str, str] = {}
    for start in sorted(starts, key=len):
        pairs = {each: sources[start + key] for each, key in keys.items() if start + key in sources}
        best = pairs if len(pairs) > len(best) else best
    return best


def _extra(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], pairs: Mapping[str, str]) -> list[str]:
    """The file's tensors inside containers of the network that it has no use for, as a deeper network has.

    ResNet-34 has all tensors of ResNet-18, and `layer1.2` besides. What lies in the container of the network's last
    tensor belongs to stages that a `features_only` network left out.
    """
    used = set(pairs.values())
    containers = {start for each in used for start in _containers(each)}
    open_ended = set(_containers(pairs[list(wanted)[-1]]))
    extra = []
    for each in given:
        if each not in used:
            inside = [start for start in _containers(each) if start in containers]
            # a prefix of all tensors is no container
            common = [start for start in inside if all(name.startswith(f"{start}.") for name in used)]
            if len(inside) > len(common) and inside[-1] not in open_ended:
                extra.append(each)
    return extra


def _containers(name: str) -> list[str]:
    """`a.b.c.weight` lies in a, a.b and a.b.c."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _by_order(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Target name to the file's name, module by module, or None where a module differs."""
    targets, sources = _modules(wanted), _modules(_below_prefix(given))
    if len(targets) > len(sources):
        return None
    pairs = {}
    for target, source in zip(targets, sources, strict=False):
        parts = {each.rpartition(".")[2]: each for each in source}
        if len(parts) != len(target):
            return None
        for each, part in zip(target, _counterparts(target, parts), strict=True):
            if part is None or _size(wanted[each]) != _size(given[part]):
                return None
            pairs[each] = part
    return pairs


def _counterparts(target: Iterable[str], parts: Mapping[str, str]) -> list[str | None]:
    """The tensors of a module with the same last words; a lone tensor may have any (`gamma`, `layer_scale`)."""
    names = [each.rpartition(".")[2] for each in target]
    if len(names) == len(parts) == 1:
        return list(parts.values())
    return [parts.get(each) for each in names]


def _modules(names: Iterable[str]) -> list[list[str]]:
    """Tensor names grouped by their module, in the order in which modules first appear."""
    groups: dict[str, list[str]] = {}
    for each in names:
        groups.setdefault(each.rpartition(".")[0], []).append(each)
    return list(groups.values())


def _below_prefix(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the backbone alone, where a checkpoint has one beside other parts."""
    for prefix in _PREFIXES:
        below = {each: tensor for each, tensor in given.items() if each.startswith(prefix)}
        if below:
            return below
    return dict(given)


def _size(tensor: Tensor) -> tuple[int, ...]:
    """The shape without axes of one at its end, which layer scales have in one layout and not in the other.

    A 1x1 convolution and a linear layer are thus equal too.
    """
    shape = tuple(tensor.shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _key(name: str) -> str:
    return name.replace("_", ".")


def _natural(item: tuple[str, Tensor]) -> list[tuple[bool, bool, int, str]]:
    """Sorts `features.2` before `features.10` and `layer_2` before `layer_10`, a module's own tensors before its
    children's, the classifier last."""
    parts = item[0].split(".")
    is_head = any(part in _CLASSIFIERS for part in parts[:2])
    rest = [
        (place < len(parts) - 1, word.isdigit(), int(word) if word.isdigit() else 0, word)
        for place, part in enumerate(parts)
        for word in re.findall(r"\d+|\D+", part)
    ]
    return [(is_head, False, 0, ""), *rest]


def _mismatch(
    wanted: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    pairs: Mapping[str, str],
    source: str,
    name: str,
) -> str:
    """Why a file was refused, with counts and the first difference."""
    text = f"{source} does not hold {name}: it has {len(pairs)} of its {len(wanted)} tensors by name"
    wrong = [each for each, source in pairs.items() if wanted[each].shape != given[source].shape]
    missing = [each for each in wanted if each not in pairs]
    if wrong:
        here, there = tuple(wanted[wrong[0]].shape), tuple(given[pairs[wrong[0]]].shape)
        text += f", {len(wrong)} in another shape ({wrong[0]} is {here} in the network, {there} in the file)"
    if missing:
        text += f", lacks {len(missing)} (first {missing[0]})"
    if not wrong and not missing:
        extra = _extra(wanted, given, pairs)
        text += f", but {len(extra)} more of a deeper network (first {extra[0]})"
    return f"{text}, and its {len(given)} tensors do not match in order and shape either."


def _advice(name: str, key: str) -> str:
    return (
        f"Give {key}=<a file of {name} in the layout of timm or torchvision>, or name the model of this file."
    )


def _how_to_get(path: str, name: str, key: str) -> str:
    match = _HUB.fullmatch(path)
    if match is None or Path(path).suffix in {".safetensors", ".pth", ".pt", ".bin"}:
        return f"Check the path of the weights of {name}; evonas downloads nothing."
    url = f"https://huggingface.co/{match['repository']}/resolve/main/model.safetensors"
    return f"evonas downloads nothing. Fetch {url} and type {key}=<the file>."
