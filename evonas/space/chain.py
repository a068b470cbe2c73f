"""Chains of modules with variable length and limits on the number of certain modules.

TransNAS-Bench-101 macro (Duan et al. 2021, arXiv 2105.11871): four to six modules, with one to four halvings of the
resolution and one to three doublings of the channels; 3256 networks.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.space.declared import declared_space
from evonas.space.space import Space


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on the number of certain modules in a chain.

    Args:
        name: effect of the modules, in the plural, such as `halvings`.
        words: the modules with this effect.
        least: minimum number of them.
        most: maximum number of them.
    """

    name: str
    words: tuple[str, ...]
    least: int
    most: int

    @property
    def rule(self) -> str:
        """The limit as text."""
        return f"{self.least} to {self.most} {self.name} ({', '.join(self.words)})"


@dataclass(frozen=True)
class ChainSpace(Space):
    """A space with one axis per module; the last modules may be absent, and chains outside of the limits are forbidden.

    Absent modules between present ones do not change the chain, so canonical layouts have them at the end.

    Args:
        absent: the choice for no module, which is the first choice of optional axes; these are the last axes.
        limits: limits of a network.
    """

    absent: str
    limits: tuple[Limit, ...]

    def size(self) -> int:
        """The number of networks, by dynamic programming over the counts that the limits use."""
        choices = self.axes[0].choices
        gains = [tuple(int(word in limit.words) for limit in self.limits) for word in choices]
        found, counts = 0, Counter({(0,) * len(self.limits): 1})
        for place in range(len(self.axes) + 1):
            if place >= self._required:
                found += sum(ways for held, ways in counts.items() if self._broken(held) is None)
            longer: Counter[tuple[int, ...]] = Counter()
            for held, ways in counts.items():
                for gain in gains:
                    longer[tuple(a + b for a, b in zip(held, gain, strict=True))] += ways
            counts = longer
        return found

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) chains with absent modules at the end."""
        found = np.array(rows)
        tail = found[:, self._required :]
        order = np.argsort(tail == 0, axis=1, kind="stable")
        found[:, self._required :] = np.take_along_axis(tail, order, axis=1)
        return found

    def no_network(self, genes: tuple[int, ...]) -> tuple[str, str] | None:
        """The violated limit of a chain, as a message and a hint; None if there is none."""
        words = [str(axis.choices[gene]) for axis, gene in zip(self.axes, genes, strict=True)]
        counts = [sum(word in limit.words for word in words) for limit in self.limits]
        broken = self._broken(counts)
        if broken is None:
            return None
        kept = ", ".join(word for word in words if word != self.absent)
        return (
            f"{kept} is not a network: it has {counts[self.limits.index(broken)]} {broken.name}.",
            f"A network of {self.name} has {' and '.join(limit.rule for limit in self.limits)}.",
        )

    def _layouts(self, settings: Sequence[Sequence[tuple[int, ...]]]) -> Iterator[tuple[int, ...]]:
        """Yields shorter chains first, so that the smallest network is one of the shortest."""
        required, tails = self._required, product(*settings[self._required :])
        heads = partial(product, *settings[:required])
        return (tuple(chain.from_iterable(head + tail)) for tail in tails for head in heads())

    def _broken(self, counts: Sequence[int]) -> Limit | None:
        pairs = zip(self.limits, counts, strict=True)
        return next((limit for limit, count in pairs if not limit.least <= count <= limit.most), None)

    @property
    def _required(self) -> int:
        return sum(axis.choices[0] != self.absent for axis in self.axes)


def chain_space(
    name: str, axes: Mapping[str, Sequence[str]], absent: str, limits: Mapping[str, Mapping[str, Any]]
) -> ChainSpace:
    """A `ChainSpace` from plain data.

    Args:
        name: name of the space.
        axes: modules by name of the axis; optional axes come last and have `absent` as first choice.
        absent: the choice for no module.
        limits: maps the name of a limit to {words, least, most}.

    Raises:
        UserError: axes have different modules, a required axis follows an optional one, a limit is invalid, or no
            chain satisfies the limits.
    """
    plain = declared_space(name, axes)
    is_optional = [axis.choices[0] == absent for axis in plain.axes]
    modules = {axis.choices[is_optional[at] :] for at, axis in enumerate(plain.axes)}
    if len(modules) > 1 or is_optional != sorted(is_optional) or absent in next(iter(modules)):
        raise UserError(
            f"The axes of {name} must have equal modules, optional ones last, got {', '.join(axes)}.",
            f"Give all the same modules; the last axes may have {absent!r} before them.",
        )
    made = tuple(_limit(word, given, next(iter(modules))) for word, given in limits.items())
    space = ChainSpace(name, plain.genes, absent, made)
    if not space.size():
        raise UserError(f"No chain of {name} satisfies its limits.", "Widen them.")
    return space


def _limit(name: str, given: Mapping[str, Any], modules: Sequence[Any]) -> Limit:
    if set(given) != {"words", "least", "most"} or not set(given["words"]) <= set(modules):
        raise UserError(
            f"The limit {name} is {dict(given)}.",
            f"As in {name}: {{words: [{modules[-1]}], least: 1, most: 3}}; words are modules.",
        )
    return Limit(name, tuple(given["words"]), int(given["least"]), int(given["most"]))
