"""Hostile and broken files end in a DataError that names them, cheaply."""

import os
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from evonas.data.io import safe
from evonas.errors import DataError


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and carries one byte of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def saved(path: Path, size: tuple[int, int] = (40, 30), **options: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_good_images_open(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name)
    stored = safe.open_image(path)
    assert stored.image.size == (40, 30)
    assert (stored.format, stored.bits, stored.frames, stored.orientation) == (
        {"a.png": "PNG", "a.jpg": "JPEG"}[name],
        8,
        1,
        1,
    )
    assert safe.stored_size(path) == (30, 40, 1)
    np.testing.assert_array_equal(np.asarray(stored.image), np.asarray(Image.open(path)))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated_images_are_named(tmp_path: Path, name: str, kept: float) -> None:
    path = saved(tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError, match=name):
        safe.open_image(path)


@pytest.mark.parametrize("side", [9_000, 20_000, 100_000])
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"bomb\.png has more than 64000000 pixels"):
        safe.open_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_the_cap_on_pixels_can_be_lowered(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    with pytest.raises(DataError, match="more than 1000 pixels"):
        safe.open_image(path, max_pixels=1000)
    with pytest.raises(DataError, match="more than 1000 pixels"):
        safe.stored_size(path, max_pixels=1000)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_that_is_damaged_near_its_beginning_is_not_called_another_format(
    tmp_path: Path, name: str
) -> None:
    content = bytearray(saved(tmp_path / name).read_bytes())
    content[8:40] = bytes(32)
    (tmp_path / name).write_bytes(bytes(content))
    with pytest.raises(DataError, match=rf"{name} is (a damaged|damaged)"):
        safe.open_image(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("GIF", "image but GIF"),
        ("BMP", "image but BMP"),
        ("TIFF", "image but TIFF"),
        ("WEBP", "image but WebP"),
        ("AVIF", "image but HEIF or AVIF"),
        ("JPEG2000", "image but JPEG 2000"),
        ("PPM", "image."),
    ],
)
def test_foreign_formats_are_refused_by_name_under_a_false_name(
    tmp_path: Path, kind: str, words: str
) -> None:
    if kind in ("AVIF", "WEBP", "JPEG2000") and not features.check(
        {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}[kind]
    ):
        pytest.skip(f"Pillow was built without {kind}")
    path = saved(tmp_path / "a.png", format=kind)
    with pytest.raises(DataError, match=rf"a\.png is not a PNG or JPEG {words}"):
        safe.open_image(path)


def test_text_nothing_and_folders_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.png"
    text.write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    empty = tmp_path / "b.png"
    empty.touch()
    for path in (text, empty, tmp_path, tmp_path / "missing.png"):
        with pytest.raises(DataError, match=path.name):
            safe.open_image(path)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is not a file"):
        safe.open_image(tmp_path / "pipe.png")


def test_every_flipped_byte_ends_well(tmp_path: Path) -> None:
    """A damaged file is either still an image or a DataError; nothing else gets out."""
    good = saved(tmp_path / "good.png").read_bytes()
    refused = 0
    for position in range(0, min(len(good), 200)):
        path = tmp_path / "bad.png"
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x5A]) + good[position + 1 :])
        try:
            safe.open_image(path)
        except DataError:
            refused += 1
    assert refused > 50


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return path


def test_lines_become_paths_below_the_root(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    wanted = [(root / "a/b.png", root / "c.png"), (root / "d e.png", root / "f g.png")]
    for content in (
        b'a/b.png  c.png\n\n"d e.png" "f g.png"\r\n',
        b"# image mask\r\na/b.png\tc.png\r\nd e.png\tf g.png",
        b"\xef\xbb\xbfa/b.png c.png\rd e.png\t f g.png\r",
        '\ufeffa/b.png "c.png"\n"d e.png"\tf g.png\n'.encode("utf-16-le"),
        '\ufeffa/b.png c.png\r\n  # and\r\n"d e.png"   "f g.png"'.encode("utf-16-be"),
    ):
        assert safe.read_lines(written(tmp_path, content), tmp_path, columns=2) == wanted, content


def test_a_blank_in_a_name_is_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.txt, line 2 has 4 words, but a line lists 2 paths") as caught:
        safe.read_lines(written(tmp_path, b"a b\nd e.png f g.png\n"), tmp_path, columns=2)
    assert "blanks" in caught.value.hint and "double quotes" in caught.value.hint


def test_words_of_a_row_may_be_quoted_and_commented(tmp_path: Path) -> None:
    rows = safe.read_rows(written(tmp_path, '\ufeffroad\n#tree\n"light  blue" 1\t2\n'.encode()))
    assert [row.fields for row in rows] == [("road",), ("light  blue", "1", "2")]
    assert rows[1].where.endswith("line 3")


def test_a_line_ends_where_people_see_its_end(tmp_path: Path) -> None:
    assert safe.read_text(written(tmp_path, "a\u2028b\x0cc\n\nd".encode())) == ["a\u2028b\x0cc", "", "d"]
    assert safe.read_text(written(tmp_path, b"")) == []
    assert safe.read_text(written(tmp_path, b"\xef\xbb\xbfa\n")) == ["a"]


@pytest.mark.parametrize("stored", [safe.composed, safe.decomposed])
@pytest.mark.parametrize("listed", [safe.composed, safe.decomposed])
def test_accents_are_found_in_either_spelling(
    tmp_path: Path, stored: Callable[[str], str], listed: Callable[[str], str]
) -> None:
    name = "caf\u00e9/\u00fcber.png"
    (tmp_path / stored("caf\u00e9")).mkdir()
    (tmp_path / stored(name)).touch()
    [[path]] = safe.read_lines(written(tmp_path, listed(name).encode()), tmp_path)
    assert path == (tmp_path / stored(name)).resolve()
    with pytest.raises(DataError, match="leaves the data folder"):
        safe.below(tmp_path.resolve(), f"../{listed(name)}", "a list")


HOSTILE = {
    "parent": b"ok.png\n../../etc/passwd\n",
    "absolute": b"ok.png\n/etc/passwd\n",
    "absolute below the root": b"ok.png\n{root}/a.png\n",
    "hidden parent": b"ok.png\na/../../b.png\n",
    "nul": b"ok.png\na\0b.png\n",
    "link": b"ok.png\nleads_out/passwd\n",
    "long": b"ok.png\n" + b"a" * 5000 + b"\n",
    "loop": b"ok.png\nround/and/round.png\n",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_lines_are_named_by_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "leads_out").symlink_to("/etc")
    (tmp_path / "round").symlink_to("round")
    path = written(tmp_path, content.replace(b"{root}", str(tmp_path).encode()))
    with pytest.raises(DataError, match=r"list\.txt, line 2"):
        safe.read_lines(path, tmp_path)


def test_missing_fields_are_named_by_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2 has 1 of 2 fields"):
        safe.read_lines(written(tmp_path, b"a b\nc\n"), tmp_path, columns=2)


def test_lists_have_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MAX_LINES", 10)
    with pytest.raises(DataError, match="11 lines"):
        safe.read_lines(written(tmp_path, b"a\n" * 11), tmp_path)
    monkeypatch.setattr(safe, "MAX_LIST_BYTES", 10)
    with pytest.raises(DataError, match="22 bytes"):
        safe.read_lines(written(tmp_path, b"a\n" * 11), tmp_path)


def test_lists_are_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="byte 1"):
        safe.read_lines(written(tmp_path, b"a\xff\n"), tmp_path)
    # UTF-16 without a mark
    with pytest.raises(DataError, match="NUL byte") as caught:
        safe.read_lines(written(tmp_path, "a.png".encode("utf-16-le")), tmp_path)
    assert "UTF-8" in caught.value.hint


def test_a_document_type_is_found_in_every_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    declared = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    for content in (declared.encode(), declared.encode("utf-8-sig"), declared.encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.xml (declares a document type|is not UTF-8)"):
            safe.read_xml(path)
    path.write_bytes("\ufeff<a>b</a>".encode())
    assert safe.read_xml(path).text == "b"


def archives(folder: Path, content: bytes, name: str = "data/result_1.json") -> list[Path]:
    """The same file in a folder, a .zip and a .tar.gz."""
    plain = folder / "plain" / name
    plain.parent.mkdir(parents=True)
    plain.write_bytes(content)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(plain, name)
    with tarfile.open(folder / "a.tar.gz", "w:gz") as tarred:
        tarred.add(plain, name)
    return [folder / "plain", folder / "a.zip", folder / "a.tar.gz"]


def test_documents_of_folders_and_archives_are_the_same(tmp_path: Path) -> None:
    for path in archives(tmp_path, b'{"a": 1}'):
        (document,) = safe.read_documents(path, r"result_\d+\.json")
        assert safe.read_json(document) == {"a": 1} and "result_1.json" in str(document)
        assert list(safe.read_documents(path, r"other\.json")) == []


def test_documents_that_unpack_to_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MAX_DOCUMENT_BYTES", 1000)
    for path in archives(tmp_path, b" " * 100_000):
        with pytest.raises(DataError, match=r"too large|at most 1000 are read"):
            list(safe.read_documents(path, r".*\.json"))


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MAX_ARRAY_BYTES", 1000)
    *_, tarred = archives(tmp_path, b" " * 100_000, "skipped.bin")
    with pytest.raises(DataError, match="unpacks to more than 1000 bytes"):
        list(safe.read_documents(tarred, r".*\.json"))


def test_more_documents_than_anybody_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MAX_DOCUMENTS", 0)
    with pytest.raises(DataError, match="more than 0 documents"):
        list(safe.read_documents(archives(tmp_path, b"{}")[0], r".*\.json"))


def test_links_in_archives_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        entry = tarfile.TarInfo("result_1.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(entry)
    assert list(safe.read_documents(path, r".*\.json")) == []


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_cut_archives_of_documents_are_named(tmp_path: Path, kept: float) -> None:
    _, zipped, tarred = archives(tmp_path, np.random.default_rng(0).bytes(5000))
    for path in (zipped, tarred):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(DataError, match=r"not a readable \.zip or \.tar\.gz"):
            list(safe.read_documents(path, r".*\.json"))


def test_json_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match=r"deep\.json is not a JSON document"):
        safe.read_json(path)
    (tmp_path / "half.json").write_text(r'{"name": "a\udcffb", "other": "\ud83d\ude00"}')
    with pytest.raises(DataError, match=r"half\.json contains half of a character"):
        safe.read_json(tmp_path / "half.json")
    (tmp_path / "whole.json").write_text(r'{"other": "\ud83d\ude00"}')
    assert safe.read_json(tmp_path / "whole.json") == {"other": "\U0001f600"}
    (tmp_path / "latin.json").write_bytes('{"name": "k\u00e4tze"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.json is not UTF-8 text: byte 11\.") as caught:
        safe.read_json(tmp_path / "latin.json")
    assert "Save it as UTF-8" in caught.value.hint
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        safe.read_json(tmp_path / "none.json")
