"""The one door for weights."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evonas import files, weights
from evonas.errors import DataError, UserError


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a": torch.randn(3, 5, generator=generator),
        "b.count": torch.tensor(7),
        "c": torch.zeros(0, 2),
    }


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", some_tensors()
    digest = weights.save(path, tensors, {"steps": 3})
    loaded = weights.load(path)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert weights.load_meta(path) == {"steps": 3}
    assert digest == files.sha256(path) == files.read_json(weights.manifest(path))["sha256"]


def test_views_and_shared_storage_are_copied(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    weights.save(tmp_path / "x.safetensors", {"slice": base[:, :2], "same": base, "again": base})
    loaded = weights.load(tmp_path / "x.safetensors")
    assert torch.equal(loaded["slice"], base[:, :2])
    assert torch.equal(loaded["again"], base)


@pytest.mark.parametrize("damaged", ["x.safetensors", "x.safetensors.json"])
def test_every_flipped_bit_of_what_is_used_is_noticed(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "x.safetensors"
    weights.save(path, some_tensors())
    target = tmp_path / damaged
    whole = target.read_bytes()
    # in the manifest, only the digest decides
    first = whole.find(b'"sha256"') + 12 if damaged.endswith("json") else 0
    last = first + 64 if damaged.endswith("json") else len(whole)
    rng = random.Random(0)
    for _ in range(60):
        broken = bytearray(whole)
        broken[rng.randrange(first, last)] ^= 1 << rng.randrange(8)
        target.write_bytes(bytes(broken))
        with pytest.raises(DataError, match=r"x\.safetensors"):
            weights.load(path)


def test_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    weights.save(path, some_tensors())
    whole = path.read_bytes()
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.safetensors"):
            weights.load(path)


def test_missing_file_and_missing_manifest_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(DataError, match="There is no weights file"):
        weights.load(path)
    weights.save(path, some_tensors())
    weights.manifest(path).unlink()
    with pytest.raises(DataError, match="manifest"):
        weights.load(path)


CRASH = """
from pathlib import Path
import torch
from evonas import weights
weights.save(Path({path!r}), {{"a": torch.ones(1000)}})
"""


@pytest.mark.parametrize("point", [1, 2])
def test_a_crash_during_a_save_keeps_the_previous_weights(tmp_path: Path, point: int) -> None:
    """Point 1 lies before the manifest is replaced, point 2 between manifest and file."""
    path = tmp_path / "x.safetensors"
    weights.save(path, {"a": torch.zeros(1000)})
    environment = {**os.environ, "EVONAS_FAULT": f"files.before_replace:{point}"}
    killed = subprocess.run([sys.executable, "-c", CRASH.format(path=str(path))], env=environment)
    assert killed.returncode == -9
    assert torch.equal(weights.load(path)["a"], torch.zeros(1000))


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, write) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    write({"model": {"a": torch.ones(1)}, "x": Malicious(marker)}, path)
    with pytest.raises(DataError, match=r"evil\.pth"):
        weights.load_foreign(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}]
)
def test_foreign_checkpoints_are_unwrapped(tmp_path: Path, wrap) -> None:
    torch.save(wrap({"w": torch.ones(2)}), tmp_path / "x.pth")
    assert torch.equal(weights.load_foreign(tmp_path / "x.pth")["w"], torch.ones(2))


def test_foreign_safetensors_need_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    weights.save(path, some_tensors())
    weights.manifest(path).unlink()
    assert weights.load_foreign(path).keys() == some_tensors().keys()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04N."])
def test_junk_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    for name in ("junk.pth", "junk.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="junk"):
            weights.load_foreign(tmp_path / name)


def test_a_missing_foreign_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth"):
        weights.load_foreign(tmp_path / "none.pth")
