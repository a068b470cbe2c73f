"""Compiled kernels for the CPU; who calls them checks shapes, types and strides."""

import ctypes
from functools import cache
from pathlib import Path

__version__ = "0.2.0"

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
# pointers first, then sizes and strides, then threads
SIGNATURES = {
    "evonas_ssd": (6, 8),
    "evonas_scan": (5, 3),
    "evonas_scan_backward": (10, 3),
    "evonas_dilated": (4, 4),
    "evonas_depthwise_silu": (4, 4),
    "evonas_causal_ssd": (7, 5),
    "evonas_causal_ssd_backward": (13, 5),
}


@cache
def library() -> ctypes.CDLL:
    """The library, with the types of its functions.

    Raises:
        OSError: it was not built, or for another processor.
    """
    found = sorted(Path(__file__).parent.glob("library.*"))
    if not found:
        raise OSError("evonas-kernels was installed without its library: build it again with `make kernels`")
    return opened(found[0])


def opened(path: Path) -> ctypes.CDLL:
    """The library in a file, with the types of its functions."""
    found = ctypes.CDLL(str(path))
    for name, (pointers, sizes) in SIGNATURES.items():
        function = getattr(found, name)
        function.argtypes = [_POINTER] * pointers + [_LONG] * sizes + [_INT]
        function.restype = None
    for blocks in (found.evonas_scan_blocks, found.evonas_causal_ssd_blocks):
        blocks.argtypes, blocks.restype = [_LONG], _LONG
    return found
