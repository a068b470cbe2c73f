"""Converted networks are kept within limits, and a damaged file does not count."""

from collections.abc import Callable
from pathlib import Path

import pytest

from evonas.runtimes.conversions import Conversions


def made(content: bytes, calls: list[bytes]) -> Callable[[], bytes]:
    def convert() -> bytes:
        calls.append(content)
        return content

    return convert


def test_what_was_converted_is_not_converted_again(tmp_path: Path) -> None:
    calls: list[bytes] = []
    for kept in (Conversions(tmp_path / "a"), Conversions(tmp_path / "a")):
        for source in ({"structure": "x"}, {"structure": "y"}, {"structure": "x"}):
            assert kept.get(source, made(source["structure"].encode(), calls)) == source["structure"].encode()
    assert calls == [b"x", b"y"]


def test_memory_and_folder_have_limits(tmp_path: Path) -> None:
    calls: list[bytes] = []
    kept = Conversions(tmp_path, memory_bytes=250, folder_bytes=500)
    for name in "abcdef":
        kept.get(name, made(name.encode() * 100, calls))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 500
    kept.get("f", made(b"", calls))
    assert len(calls) == 6
    kept.get("a", made(b"a", calls))
    assert len(calls) == 7


@pytest.mark.parametrize("content", [b"", b"damaged" * 20])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    calls: list[bytes] = []
    Conversions(tmp_path).get("x", made(b"model", calls))
    [path] = tmp_path.iterdir()
    path.write_bytes(content)
    assert Conversions(tmp_path).get("x", made(b"model", calls)) == b"model"
    assert Conversions(tmp_path).get("x", made(b"model", calls)) == b"model"
    assert len(calls) == 2


def test_a_folder_that_cannot_be_written_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Conversions(tmp_path / "file" / "below").get("x", lambda: b"model") == b"model"
