"""TFRecord framing and the wire format: published check values, and files that are damaged."""

import struct
from pathlib import Path

import benchmarks_written as written
import numpy as np
import pytest

from evonas.data.nas_bench import tfrecord
from evonas.errors import DataError


def test_checksums_of_rfc_3720() -> None:
    contents = [b"123456789", bytes(32), b"\xff" * 32, bytes(range(32)), b""]
    found = [int(each) for each in tfrecord.crc32c(contents)]
    assert found == [0xE3069283, 0x8A9136AA, 0x62A8AB43, 0x46DD794E, 0]


def test_checksums_side_by_side_are_those_one_by_one() -> None:
    rng = np.random.default_rng(0)
    contents = [rng.bytes(int(size)) for size in rng.integers(0, 40, 50)]
    alone = [int(tfrecord.crc32c([content])[0]) for content in contents]
    assert [int(each) for each in tfrecord.crc32c(contents)] == alone


def test_the_mask_is_that_of_tfrecord() -> None:
    # a record of TensorFlow's own tests: length 8, "\x01" ... is masked as rotate by 15, add 0xa282ead8
    assert int(tfrecord.masked(np.array([0], dtype=np.uint32))[0]) == 0xA282EAD8
    assert int(tfrecord.masked(np.array([0x8000], dtype=np.uint32))[0]) == 0xA282EAD9


def test_records_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "_BATCH", 3)
    contents = [b"x" * size for size in (0, 1, 300, 7, 8, 9, 10)]
    path = written.nb101(tmp_path / "some.tfrecord", contents)
    assert list(tfrecord.read_records(path)) == contents


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "empty.tfrecord"
    path.touch()
    assert list(tfrecord.read_records(path)) == []


@pytest.mark.parametrize("kept", [1, 11, 12, 13, 20, 24])
def test_cut_files_are_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.tfrecord"
    path.write_bytes(written.record(b"content!!")[:kept])
    with pytest.raises(
        DataError, match=r"cut\.tfrecord is not a complete TFRecord file: it ends inside a record"
    ):
        list(tfrecord.read_records(path))


@pytest.mark.parametrize("at", [8, 12, 15, 21])
def test_damage_is_found_by_its_checksum(tmp_path: Path, at: int) -> None:
    good, bad = written.record(b"content!!"), bytearray(written.record(b"content!!"))
    bad[at] ^= 4
    path = tmp_path / "bad.tfrecord"
    path.write_bytes(good + bytes(bad) + good)
    with pytest.raises(DataError, match="record 2 has a wrong checksum"):
        list(tfrecord.read_records(path))


def test_a_promise_of_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tfrecord"
    path.write_bytes(struct.pack("<QI", 2**60, 0))
    with pytest.raises(DataError, match="has 1152921504606846976 bytes"):
        list(tfrecord.read_records(path))


def test_fields_of_every_kind() -> None:
    message = (
        written.varint(1 << 3) + written.varint(300) + written.double(2, 0.5) + written.block(15, b"text")
    )
    message += written.varint(16 << 3 | 5) + b"\1\2\3\4"
    found = list(tfrecord.fields(message))
    assert [number for number, _ in found] == [1, 2, 15, 16]
    assert found[0][1] == 300 and tfrecord.double(found[1][1]) == 0.5 and found[2][1] == b"text"
    with pytest.raises(ValueError, match="not a double"):
        tfrecord.double(found[3][1])


@pytest.mark.parametrize(
    "message", [b"\x80", b"\x09\0\0", b"\x0a\x05abc", b"\x0b", b"\xff" * 11, b"\x08" + b"\x80" * 3]
)
def test_broken_messages_are_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"truncated|longer than its message|wire type"):
        list(tfrecord.fields(message))
