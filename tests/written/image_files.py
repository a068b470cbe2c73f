"""Image files of every depth and orientation, as other programs and cameras write them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from evonas.data.io.safe import Encoded


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> Encoded:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Encoded(f"a.{kind.lower()}", stream.getvalue())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(bits: int, samples: Any, transparent: tuple[int, ...] = (), more: bytes = b"") -> Encoded:
    """A PNG with samples of any depth, H W or H W C, as programs other than Pillow write them."""
    samples = np.atleast_3d(np.asarray(samples))
    height, width, channels = samples.shape
    rows = b""
    for row in samples:
        digits = "".join(format(int(value), f"0{bits}b") for value in row.ravel())
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    alpha = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return Encoded("a.png", b"\x89PNG\r\n\x1a\n" + head + alpha + more + body)


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made
