"""Reader of TFRecord files and of the wire format of protocol buffers, without TensorFlow.

A record is its length (8 bytes, little endian), the masked CRC-32C of the length, the content and the masked CRC-32C
of the content; the mask rotates by 15 bits and adds 0xa282ead8. CRC-32C (RFC 3720) processes bytes sequentially, so
many records are checked in parallel.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from evonas.data.io.safe import open_stream
from evonas.errors import DataError

MAX_RECORD = 2**20
_BATCH = 4096
_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
Value = int | bytes
Checks = NDArray[np.uint32]


def _crc_table() -> Checks:
    table: Checks = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return table


_CRC_TABLE = _crc_table()


def crc32c(contents: Sequence[bytes]) -> Checks:
    """The CRC-32C of each content."""
    lengths = np.array([len(content) for content in contents])
    order = np.argsort(-lengths, kind="stable")
    # sorted by length, so that the records with a byte at a position are always the first ones
    text = np.zeros((int(lengths.max(initial=0)), len(contents)), dtype=np.uint8)
    for column, row in enumerate(order):
        text[: lengths[row], column] = np.frombuffer(contents[row], dtype=np.uint8)
    state = np.full(len(contents), 0xFFFFFFFF, dtype=np.uint32)
    alive = np.searchsorted(-lengths[order], -np.arange(len(text)), side="left")
    for count, letters in zip(alive, text, strict=True):
        now = state[:count]
        state[:count] = _CRC_TABLE[(now ^ letters[:count]) & 0xFF] ^ (now >> 8)
    found = np.empty_like(state)
    found[order] = ~state
    return found


def masked(checks: Checks) -> Checks:
    """Checksums as TFRecord stores them."""
    return ((checks >> np.uint32(15)) | (checks << np.uint32(17))) + np.uint32(_MASK)


def read_records(path: Path) -> Iterator[bytes]:
    """The content of each record, in order; checksums are verified in batches.

    Raises:
        DataError: the file is truncated, damaged or of another format; the message names the record.
    """
    number = 0
    with open_stream(path) as stream:
        while batch := [found for _ in range(_BATCH) if (found := _record(path, stream))]:
            lengths, contents = [each[0] for each in batch], [each[2] for each in batch]
            stored = np.array([(each[1], each[3]) for each in batch], dtype=np.uint32)
            wrong = (masked(crc32c(lengths)) != stored[:, 0]) | (masked(crc32c(contents)) != stored[:, 1])
            if wrong.any():
                raise _damaged(path, f"record {number + int(wrong.argmax()) + 1} has a wrong checksum")
            yield from contents
            number += len(batch)


def _record(path: Path, stream: BinaryIO) -> tuple[bytes, int, bytes, int] | None:
    """The stored length, its checksum, the content and its checksum; None at the end of the file."""
    head = stream.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise _damaged(path, "it ends inside a record")
    length, check = _HEAD.unpack(head)
    if length > MAX_RECORD:
        raise _damaged(path, f"a record has {length} bytes; at most {MAX_RECORD} are read")
    content, tail = stream.read(length), stream.read(_TAIL.size)
    if len(tail) < _TAIL.size:
        raise _damaged(path, "it ends inside a record")
    return head[:8], check, content, _TAIL.unpack(tail)[0]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not a complete TFRecord file: {why}.", "Download it again.")


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a protocol buffer; values are integers or bytes (a double has eight).

    Raises:
        ValueError: the message is truncated or uses an unknown wire type.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind not in (_EIGHT, _BYTES, _FOUR):
            raise ValueError(f"wire type {kind} is unknown")
        size = {_EIGHT: 8, _FOUR: 4}.get(kind)
        if size is None:
            size, at = _varint(message, at)
        if at + size > len(message):
            raise ValueError("a field is longer than its message")
        yield number, message[at : at + size]
        at += size


def double(value: Value) -> float:
    """The double in eight bytes; a ValueError for other values."""
    if not isinstance(value, bytes) or len(value) != 8:
        raise ValueError("a field is not a double")
    return float(struct.unpack("<d", value)[0])


def _varint(message: bytes, at: int) -> tuple[int, int]:
    if at < len(message) and message[at] < 0x80:
        return message[at], at + 1
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is truncated")
