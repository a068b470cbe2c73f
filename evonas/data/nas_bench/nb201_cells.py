"""The cell of NAS-Bench-201 as a function: cells that compute the same are recognised.

Of the 15 625 cells 4 930 differ as functions. Dong and Yang 2020 (arXiv 2001.00326) count 6 466, because
they keep a zero as a term of its own in every sum.
"""

from collections.abc import Sequence

# (from, to) of the six edges, in the order of the benchmark's strings
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_NOTHING = ""


def canonical_cell(words: Sequence[str]) -> str:
    """A text that two cells share exactly when they compute the same function.

    A node is the sum of what reaches it: `none` brings nothing, `skip_connect` brings the other node as it
    is, an operation on nothing brings nothing, and the order of a sum does not matter.

    Args:
        words: operations of the six edges, in the order of `EDGES`.
    """
    sums: list[tuple[str, ...]] = [("input",)]
    for node in (1, 2, 3):
        reaching: list[str] = []
        for (source, target), word in zip(EDGES, words, strict=True):
            if target == node:
                reaching += _through(word, sums[source])
        sums.append(tuple(sorted(reaching)))
    return "+".join(sums[3]) or _NOTHING


def _through(word: str, terms: tuple[str, ...]) -> tuple[str, ...]:
    if word == "none" or not terms:
        return ()
    return terms if word == "skip_connect" else (f"{word}({'+'.join(terms)})",)
