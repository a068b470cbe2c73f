"""Arrays from outside are read without unpickling, and lies about their size are noticed."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from evonas.data.io import safe
from evonas.errors import DataError


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.float32(2.5)}
    np.savez_compressed(tmp_path / "t.npz", **arrays)
    found = safe.read_arrays(tmp_path / "t.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="contains objects"):
        safe.read_arrays(tmp_path / "t.npz")


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("a.npy", stream.getvalue() + bytes(8))
    with pytest.raises(DataError, match="is larger than its file"):
        safe.read_arrays(tmp_path / "t.npz")


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "t.npz", a=np.zeros(10_000))
    monkeypatch.setattr(safe, "MAX_ARRAY_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than 1000 bytes"):
        safe.read_arrays(tmp_path / "t.npz")


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_damage_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).random(100))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t\.npz is not a readable \.npz file"):
        safe.read_arrays(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, a=np.arange(100))
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="not a readable"):
        safe.read_arrays(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        safe.read_arrays(tmp_path / "none.npz")
