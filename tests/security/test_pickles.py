"""Checkpoints that would run something when they are read, in every form that torch knows."""

import builtins
import functools
import io
import os
import pickle
import runpy
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evonas import weights
from evonas.data.io import safe

WEIGHT = torch.ones(2)


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


class Restores(dict):
    """Pickled, it is a harmless object whose state is set by a call."""

    def __init__(self, payload: Calls) -> None:
        super().__init__()
        self.payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        return (OrderedDict, (), None, None, iter([("weight", self.payload)]))


def zipped(value: Any, path: Path) -> None:
    torch.save(value, path)


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain(value: Any, path: Path, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(value, protocol=protocol))


def tarred(value: Any, path: Path) -> None:
    """The oldest layout of torch: a tar of three pickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(value if name == "pickle" else 0, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def hidden_in_zip(value: Any, path: Path) -> None:
    """A whole checkpoint whose table of contents is another pickle."""
    whole = io.BytesIO()
    torch.save({"weight": WEIGHT}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            evil = entry.filename.endswith("data.pkl")
            target.writestr(entry.filename, pickle.dumps(value, protocol=2) if evil else source.read(entry))


def scripted(value: Any, path: Path) -> None:
    """An archive of TorchScript with a pickle of constants."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("constants.pkl", "data.pkl"):
            archive.writestr(f"archive/{name}", pickle.dumps(value, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/code/__torch__.py", "import os\n")


WRITERS = {"zip": zipped, "legacy": legacy, "tar": tarred, "hidden": hidden_in_zip, "script": scripted}
WRITERS |= {f"protocol {number}": functools.partial(plain, protocol=number) for number in (0, 1, 3, 4, 5)}

CALLS: dict[str, Callable[[Path], Calls]] = {
    "a shell": lambda marker: Calls(os.system, f"touch {marker}"),
    "code": lambda marker: Calls(builtins.exec, f"open({str(marker)!r}, 'w')"),
    "an expression": lambda marker: Calls(builtins.eval, f"open({str(marker)!r}, 'w')"),
    "a process": lambda marker: Calls(subprocess.check_call, ["touch", str(marker)]),
    "a file": lambda marker: Calls(Path.touch, marker),
    "a script": lambda marker: Calls(runpy.run_path, str(marker)),
    "torch itself": lambda marker: Calls(torch.save, WEIGHT, str(marker)),
    "a getter": lambda _: Calls(builtins.getattr, Calls(builtins.__import__, "os"), "getcwd"),
    "a partial": lambda marker: Calls(functools.partial, os.mkdir, str(marker)),
    "a later state": lambda marker: Calls(Restores, Calls(os.system, f"touch {marker}")),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda evil: evil,
    "in the state dict": lambda evil: {"model": OrderedDict(weight=WEIGHT, bias=[{"deep": (evil,)}])},
    "beside it": lambda evil: {"state_dict": {"weight": WEIGHT}, "hyper_parameters": evil, "epoch": 3},
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_every_layout_is_refused(hostile: Any, write: Callable, place: Callable) -> None:
    path = hostile.folder / "evil.ckpt"
    value = place(CALLS["a shell"](hostile.marker))
    # torch's own writers ask storages for their type, which plain pickles do not need
    if write not in (zipped, legacy) and place is not PLACES["alone"]:
        value = {"hyper_parameters": CALLS["a shell"](hostile.marker)}
    write(value, path)
    assert "evil.ckpt" in str(hostile.refused(lambda: weights.load_foreign(path)))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_every_call_is_refused(hostile: Any, call: Callable[[Path], Calls]) -> None:
    path = hostile.folder / "evil.pth"
    zipped({"model": {"weight": WEIGHT}, "x": call(hostile.marker)}, path)
    assert "safetensors" in hostile.refused(lambda: weights.load_foreign(path)).hint


def test_these_pickles_do_work(tmp_path: Path) -> None:
    """Without our door they would leave a mark."""
    path = tmp_path / "evil.pth"
    zipped({"x": CALLS["a file"](tmp_path / "marker")}, path)
    torch.load(path, weights_only=False)
    assert (tmp_path / "marker").exists()


HEADERS = {
    "endless": (2**60).to_bytes(8, "little") + b"{}",
    "no header": b"\x00" * 8,
    "beyond the end": b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
    "backwards": b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
    "overlapping": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "huge": b'{"w":{"dtype":"F32","shape":[9999999999,9999999999],"data_offsets":[0,4]}}',
    "a pickle": pickle.dumps({"w": 1}),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_hostile_headers_are_refused(hostile: Any, header: bytes) -> None:
    path = hostile.folder / "evil.safetensors"
    framed = header[:1] == b"{"
    path.write_bytes((len(header).to_bytes(8, "little") if framed else b"") + header + b"\0" * 4 * framed)
    hostile.refused(lambda: weights.load_foreign(path))


def test_arrays_of_objects_are_refused(hostile: Any) -> None:
    path = hostile.folder / "evil.npz"
    evil = np.array([CALLS["a shell"](hostile.marker)], dtype=object)
    np.savez(path, words=evil, error=np.zeros(1))
    hostile.refused(lambda: safe.read_arrays(path))
