"""Randomness as a function of (seed, purpose, step); no global generator is ever read."""

import hashlib

import numpy as np


def derive(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed that depends on all three arguments, equal on every machine.

    Example:
        >>> derive(0, "augment", 3) == derive(0, "augment", 3)
        True
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """A fresh NumPy generator for one purpose at one step."""
    return np.random.default_rng(derive(seed, purpose, step))
