"""The only door for weights: atomic saves, verified loads, and pickles that cannot run code.

A file `x.safetensors` has a manifest `x.safetensors.json` beside it that names the sha256
of its bytes. The manifest is replaced first and keeps the digest of the file that is about
to be replaced, so a crash between the two replacements leaves a pair that still agrees.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from evonas import files
from evonas.errors import DataError, UserError

_META = "evonas"
# names under which training scripts store a state dict, the preferred one first
ENTRIES = ("state_dict", "model", "model_ema")


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> str:
    """Write tensors durably; the previous file stays whole until the new one is in place.

    Args:
        path: target, by custom `*.safetensors`.
        tensors: moved to the CPU; views and shared storage are copied.
        meta: plain JSON facts, kept inside the file and shown in its manifest.

    Returns:
        The sha256 of the file, in hex.
    """
    facts = dict(meta or {})
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {_META: json.dumps(facts, sort_keys=True, allow_nan=False)}
    digests: list[str] = []

    def write(temporary: Path) -> None:
        temporary.write_bytes(safetensors.torch.save(plain, header))
        digests.append(files.sha256(temporary))
        files.write_json(manifest(path), _entry(temporary, digests[0], facts, _digest_of(path)))

    files.write_atomic(path, write)
    return digests[0]


def manifest(path: Path) -> Path:
    """Where the manifest of a weights file lies."""
    return path.with_name(f"{path.name}.json")


def digest(path: Path) -> str:
    """The sha256 recorded for a file of ours; nothing is read or verified but its manifest."""
    return str(files.read_json(manifest(path))["sha256"])


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of ours, after its bytes were checked against the manifest.

    Raises:
        DataError: the file or its manifest is missing, altered or torn.
    """
    return _tensors(_verified(path), path)


def load_meta(path: Path) -> dict[str, Any]:
    """The facts that were saved with the tensors, from the verified file itself."""
    content = _verified(path)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return dict(json.loads(header.get("__metadata__", {}).get(_META, "{}")))


def save_pickled(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `{"state_dict": tensors}` as torch does, for programs of others that read nothing else.

    Args:
        path: replaced at once, when the file is whole.
        tensors: moved to the CPU; views and shared storage are copied.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    files.write_atomic(path, lambda temporary: torch.save({"state_dict": plain}, temporary))


def load_foreign(
    path: Path, entries: Sequence[str] = ENTRIES, with_numbers: bool = False
) -> dict[str, Tensor]:
    """The tensors of somebody else's checkpoint: safetensors, or `.pth` read without running it.

    A state dict wrapped as `{"state_dict": ...}`, `{"model": ...}` or `{"model_ema": ...}` is
    unwrapped, the first of them that is there; entries that are not tensors are left out.

    Args:
        path: the file.
        entries: names of wrapped state dicts, the preferred one first.
        with_numbers: whether plain numbers are kept, as tensors without axes.

    Raises:
        UserError: there is no such file.
        DataError: not a checkpoint, or one whose pickle wants to do more than hold tensors.
    """
    if not path.is_file():
        raise UserError(f"There is no weights file {path}.", "Check the path.")
    if path.suffix == ".safetensors":
        return _tensors(path.read_bytes(), path)
    return _unwrapped(_unpickled(path), path, entries, with_numbers)


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # on damaged bytes the unpickler fails in ways of its own: IndexError, AttributeError, and more
        raise DataError(
            f"{path} is refused: it is not a checkpoint that holds tensors alone.",
            "Convert it to safetensors where it was made and give that file.",
        ) from error


def _unwrapped(value: Any, path: Path, entries: Sequence[str], with_numbers: bool) -> dict[str, Tensor]:
    for key in entries:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
            break
    found = {}
    if isinstance(value, Mapping):
        found = {str(name): item for name, item in value.items() if isinstance(item, Tensor)}
        if with_numbers:
            numbers = {str(name): item for name, item in value.items() if isinstance(item, int | float)}
            found |= {name: torch.tensor(float(item), dtype=torch.float64) for name, item in numbers.items()}
    if not found:
        raise DataError(f"{path} holds no tensors.", "Give a state dict, or {'model': state dict}.")
    return found


def _entry(file: Path, digest: str, meta: Mapping[str, Any], previous: str | None) -> dict[str, Any]:
    return {"sha256": digest, "size": file.stat().st_size, "meta": dict(meta), "previous": previous}


def _digest_of(path: Path) -> str | None:
    return files.sha256(path) if path.exists() else None


def _verified(path: Path) -> bytes:
    known = _manifest_digests(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.", "Make it again.") from error
    if hashlib.sha256(content).hexdigest() not in known:
        raise DataError(f"{path} was altered or torn: its sha256 is not the one recorded.", "Make it again.")
    return content


def _manifest_digests(path: Path) -> set[str]:
    if not path.exists():
        raise DataError(f"There is no weights file {path}.", "Run the stage that makes it.")
    try:
        entry = files.read_json(manifest(path))
        return {str(entry["sha256"]), str(entry.get("previous"))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"The manifest {manifest(path)} is missing or unreadable, so {path.name} cannot be trusted.",
            "Make the weights again.",
        ) from error


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return dict(safetensors.torch.load(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a safetensors file.", "Check the file.") from error
