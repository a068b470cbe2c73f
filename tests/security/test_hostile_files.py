"""Archives, images, lists and documents that want more than to be read."""

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evonas.data.detection.coco_annotations import read_instances
from evonas.data.detection.voc import convert
from evonas.data.io import safe
from evonas.data.segmentation.mask_folders import MaskFolders

ENTRIES: dict[str, dict[str, Any]] = {
    "traversal": {"name": "../evil.jpg"},
    "hidden traversal": {"name": "a/../../evil.jpg"},
    "absolute": {"name": "/tmp/evil.jpg"},
    "symbolic link": {"name": "a.jpg", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"name": "a.jpg", "type": tarfile.LNKTYPE, "linkname": "../../etc/passwd"},
    "character device": {"name": "a.jpg", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "block device": {"name": "a.jpg", "type": tarfile.BLKTYPE, "devmajor": 8},
    "pipe": {"name": "a.jpg", "type": tarfile.FIFOTYPE},
    "sparse": {"name": "a.jpg", "type": tarfile.GNUTYPE_SPARSE},
    "control signs": {"name": "a\x1b[2J.jpg"},
    "large": {"name": "a.jpg", "size": 2**40},
    "beyond the end": {"name": "a.jpg", "size": 10**6},
}


def tar(path: Path, mode: str, content: bytes = b"{}", **about: Any) -> Path:
    entry = tarfile.TarInfo()
    entry.size = len(content)
    for name, value in about.items():
        setattr(entry, name, value)
    with tarfile.open(path, mode) as archive:
        archive.addfile(entry, io.BytesIO(content) if entry.isreg() and entry.size == len(content) else None)
    return path


@pytest.mark.parametrize("about", ENTRIES.values(), ids=ENTRIES.keys())
def test_shards_hold_plain_files_only(hostile: Any, about: dict[str, Any]) -> None:
    path = tar(hostile.folder / "evil.tar", "w", **about)
    assert "evil.tar" in str(hostile.refused(lambda: safe.tar_members(path)))


@pytest.mark.parametrize("about", list(ENTRIES.values())[3:8], ids=list(ENTRIES)[3:8])
def test_documents_are_never_followed_elsewhere(hostile: Any, about: dict[str, Any]) -> None:
    path = tar(hostile.folder / "evil.tar.gz", "w:gz", **{**about, "name": "result_1.json"})
    assert hostile.harmless(lambda: list(safe.read_documents(path, r".*\.json"))) == "[]"


@pytest.mark.parametrize("name", ["../result_1.json", "/tmp/result_1.json", "a/../../result_1.json"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_documents_are_not_unpacked(hostile: Any, name: str, kind: str) -> None:
    path = hostile.folder / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "{}")
    else:
        tar(path, "w:gz", name=name)
    hostile.harmless(lambda: [safe.read_json(each) for each in safe.read_documents(path, r".*\.json")])


def bomb_of_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "evil.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result_1.json", b" " * (safe.MAX_DOCUMENT_BYTES + 1))
    return folder / "evil.zip"


def bomb_of_tar(folder: Path) -> Path:
    content = b" " * (safe.MAX_DOCUMENT_BYTES + 1)
    return tar(folder / "evil.tar.gz", "w:gz", content, name="result_1.json")


def lying_zip(folder: Path) -> Path:
    """Its directory promises few bytes, and its data hold many."""
    path = bomb_of_zip(folder)
    whole = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = whole.index(mark) + offset
        whole[place : place + 4] = struct.pack("<I", 10)
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize("make", [bomb_of_zip, bomb_of_tar, lying_zip])
def test_documents_that_swell_are_refused(hostile: Any, make: Callable[[Path], Path]) -> None:
    path = make(hostile.folder)
    assert path.stat().st_size < 20_000
    hostile.refused(lambda: list(safe.read_documents(path, r".*\.json")))


def npz(folder: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(folder / "evil.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return folder / "evil.npz"


def header(shape: str, dtype: str = "'<f8'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


ARRAYS = {
    "huge": header("(999999999, 999999999)"),
    "negative": header("(-1, -9)"),
    "objects": header("(1,)", "'|O'") + b"cos\nsystem\n(S'touch marker'\ntR.",
    "fields of objects": header("(1,)", "[('a', '|O')]") + b"\0" * 8,
    "a call in its header": header("(__import__('os').mkdir('marker'),)"),
    "an unknown version": b"\x93NUMPY\x09\x00" + b"\0" * 20,
    "nothing": b"",
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS.keys())
def test_hostile_arrays_are_refused(hostile: Any, content: bytes) -> None:
    path = npz(hostile.folder, "error.npy", content)
    assert "evil.npz" in hostile.refused(lambda: safe.read_arrays(path)).message


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and carries one byte of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = (("IHDR", about), ("IDAT", zlib.compress(b"\0")), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name.encode(), body) for name, body in pieces)


def drawn(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(stream, format=kind)
    return stream.getvalue()


IMAGES: dict[str, Callable[[], bytes]] = {
    "400 megapixels": lambda: png(20_000, 20_000),
    "10 gigapixels": lambda: png(100_000, 100_000),
    "a line without end": lambda: png(2**31 - 1, 1),
    "no pixels": lambda: png(0, 0),
    "truncated png": lambda: drawn("PNG")[:40],
    "truncated jpeg": lambda: drawn("JPEG")[:300],
    "gif": lambda: drawn("GIF"),
    "tiff": lambda: drawn("TIFF"),
    "bmp": lambda: drawn("BMP"),
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(marker) (w) file\n",
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "fits": lambda: b"SIMPLE  =                    T" + b" " * 2850,
    "a page": lambda: b"<html><script>alert(1)</script>",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("make", IMAGES.values(), ids=IMAGES.keys())
def test_hostile_images_are_refused(hostile: Any, make: Callable[[], bytes]) -> None:
    path = hostile.folder / "evil.png"
    path.write_bytes(make())
    assert "evil.png" in hostile.refused(lambda: safe.open_image(path)).message


def test_devices_and_pipes_are_no_files(hostile: Any) -> None:
    os.mkfifo(hostile.folder / "evil.png")
    hostile.refused(lambda: safe.open_image(hostile.folder / "evil.png"))
    hostile.refused(lambda: safe.read_text(Path("/dev/zero")))


LISTS = {
    "parent": b"../../etc/passwd m.png",
    "absolute": b"/etc/passwd m.png",
    "absolute second": b"i.png /etc/passwd",
    "hidden parent": b"a/../../b.png m.png",
    "nul": b"a\0b.png m.png",
    "link": b"leads_out/passwd m.png",
    "loop": b"round/x.png m.png",
    "long": b"a" * 5000 + b" m.png",
    "a field short": b"i.png",
    "no text": b"\xff\xfe i.png m.png",
}


@pytest.mark.parametrize("line", LISTS.values(), ids=LISTS.keys())
def test_lists_stay_below_their_root(hostile: Any, line: bytes) -> None:
    (hostile.folder / "leads_out").symlink_to("/etc")
    (hostile.folder / "round").symlink_to("round")
    (hostile.folder / "train.txt").write_bytes(line + b"\n")
    source = MaskFolders(str(hostile.folder), ["a", "b"], lists=str(hostile.folder))
    assert "train.txt" in hostile.refused(lambda: source.training_frames()).message


def test_lists_without_end_are_refused(hostile: Any) -> None:
    with (hostile.folder / "train.txt").open("wb") as stream:
        stream.truncate(10**10)
    hostile.refused(lambda: safe.read_rows(hostile.folder / "train.txt"))


DOCUMENTS = {
    "laughs": '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>',
    "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
    "a parameter": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1/x">%a;]><annotation/>',
    "broken": "<annotation><object></annotation>",
    "deep": "<a>" * 100_000,
    "nothing": "",
}


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_hostile_annotations_are_refused(hostile: Any, text: str) -> None:
    tree = hostile.folder / "voc"
    for path, content in (
        ("ImageSets/Main/train.txt", b"a\n"),
        ("Annotations/a.xml", text.encode()),
        ("JPEGImages/a.jpg", drawn("JPEG")),
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    hostile.refused(lambda: convert(tree, hostile.folder / "coco", {"train": "train"}))
    assert not (hostile.folder / "coco").exists()


def coco(**changes: Any) -> dict[str, Any]:
    """A document of one picture and one object."""
    found: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], "iscrowd": 0, "area": 9}
        ],
    }
    for key, change in changes.items():
        found[key] = [{**found[key][0], **change}] if isinstance(change, dict) else change
    return found


OBJECTS = {
    "pixels": {"images": {"height": 10**6, "width": 10**6}},
    "a negative size": {"images": {"height": -9}},
    "no size": {"images": {"height": None}},
    "an infinite box": {"annotations": {"bbox": [1, 1, float("inf"), 3]}},
    "no number": {"annotations": {"bbox": ["a", 1, 2, 3]}},
    "a list for an identity": {"annotations": {"image_id": [1]}},
    "nobody's object": {"annotations": {"category_id": 7}},
    "an object for a list": {"annotations": {"segmentation": {"counts": "\x00" * 9, "size": [9]}}},
    "a text for all": {"images": "images"},
    "numbers for all": {"categories": [1, 2]},
}


@pytest.mark.parametrize("changes", OBJECTS.values(), ids=OBJECTS.keys())
def test_hostile_objects_are_refused(hostile: Any, changes: dict[str, Any]) -> None:
    path = hostile.folder / "evil.json"
    path.write_text(json.dumps(coco(**changes)))
    hostile.refused(lambda: read_instances(path, with_masks=True, max_pixels=10**6))
