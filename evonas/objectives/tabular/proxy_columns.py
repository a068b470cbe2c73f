"""Tabular evaluator with zero-cost proxies as additional objectives."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import nn

from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.tabular.evaluator import Lookup, TableEvaluator, words_of
from evonas.proxies.catalogue import proxy
from evonas.proxies.inputs import image_shape
from evonas.proxies.scorer import Scorer, is_size, refuse_too_few
from evonas.randomness import derive, generator
from evonas.space.genotype import Genotype

VERSION = 2


class ScoredTable(TableEvaluator):
    """Measures negative proxy scores of a cell network with random weights, and columns of the table.

    Scores are the first objectives, so selection rules minimise them. The table's error is stored with every
    evaluation, but is not visible to the search. The config needs `_recursive_: false`.

    Args:
        space: config of the space.
        table: config of a function that returns a `Table`.
        cells: config of the networks, built with `words=` and `seed=`.
        proxies: names from `evonas/proxies/catalogue.py`.
        objectives: columns, all minimised.
        batch_size: number of random images.
        size: height and width of the images, or of the tiles of a network that reads tiles, in pixels.
        references: number of reference networks of SasWOT and AZ-NAS.
        seed: seed of weights, images and references.

    Raises:
        UserError: an argument is unknown, has another form, or is too small.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        table: Mapping[str, Any],
        cells: Mapping[str, Any],
        proxies: Sequence[str] = ("saswot",),
        objectives: Sequence[str] = ("flops",),
        batch_size: int = 4,
        size: Sequence[int] = (64, 64),
        references: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(space, table, objectives)
        if isinstance(proxies, str) or not is_size(size):
            raise UserError(
                "evaluator.proxies must be a list of proxies and evaluator.size height and width in pixels, "
                f"got {proxies} and {size}.",
                "Try: 'evaluator.proxies=[nwot]' 'evaluator.size=[64,64]'",
            )
        self._proxies = tuple(proxy(name).name for name in proxies)
        if not self._proxies or set(self._proxies) & set(objectives):
            raise UserError(
                f"evaluator.proxies must name proxies that are no objectives, got {list(proxies)}.",
                "Try: 'evaluator.proxies=[saswot]' 'evaluator.objectives=[flops]'",
            )
        refuse_too_few("evaluator", batch_size, references)
        self._cells, self._seed, self._references = cells, seed, references
        self._shape = (batch_size, 3, *size)

    @cached_property
    def objectives(self) -> tuple[Lookup, ...]:
        """Scores, then columns."""
        return (*(Lookup(name, "") for name in self._proxies), *super().objectives)

    @cached_property
    def scale(self) -> dict[str, list[float]]:
        """Empty, since the range of scores is unknown."""
        return {}

    def setup(self) -> None:
        """Reads the table and scores the reference networks."""
        super().setup()
        for scorer in self._scorers.values():
            scorer.references()

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """Negative scores and columns.

        Raises:
            ValueError: a score is not finite, or the table has no row.
        """
        found = super().measure(genotype, part)
        words = words_of(self.space, genotype)
        net = self._network(words)
        scores = {name: -scorer.score(net)[0] for name, scorer in self._scorers.items()}
        truth = self.table.values(words, ("error",))
        return Measurement({**scores, **found.objectives}, {"table": truth})

    def identity(self, part: Part) -> dict[str, Any]:
        """The identity of the table, and everything the scores depend on."""
        return {
            **super().identity(part),
            "scores": {
                "version": VERSION,
                "proxies": list(self._proxies),
                "cells": dict(self._cells),
                "shape": list(self._shape),
                "references": self._references,
                "seed": self._seed,
            },
        }

    @cached_property
    def _scorers(self) -> dict[str, Scorer]:
        batch, _, *size = self._shape
        shape = image_shape(self._reference(0), batch, size)
        return {
            name: Scorer(name, shape, self._seed, self._reference, self._references) for name in self._proxies
        }

    def _network(self, words: Sequence[str]) -> nn.Module:
        net: nn.Module = build(self._cells, words=list(words), seed=derive(self._seed, "scored/weights"))
        return net

    def _reference(self, number: int) -> nn.Module:
        rng = generator(self._seed, "scored/references", number)
        return self._network(words_of(self.space, self.space.sample(rng)))
