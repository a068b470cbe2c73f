"""Scorer: computes one proxy with fixed images and reference networks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from evonas.errors import UserError
from evonas.proxies.catalogue import Parts, proxy
from evonas.proxies.inputs import random_images
from evonas.proxies.probe import Probe

# images, and networks of a comparison
_FEWEST = 2
# of an image: height and width
_SIDES = 2


class Scorer:
    """Scores networks on the same random images; higher is better.

    SasWOT and AZ-NAS combine several parts by comparison with reference networks, which are scored once, on first use.

    Args:
        name: name of the proxy.
        shape: (B, C, H, W) of the images.
        seed: seed of images and targets.
        reference: builds the reference network of an index.
        references: number of reference networks; networks without a score are excluded.
        device: device of the networks.

    Raises:
        UserError: the proxy is unknown, or it compares and has fewer than two references.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        seed: int,
        reference: Callable[[int], nn.Module],
        references: int = 16,
        device: torch.device | str = "cpu",
    ) -> None:
        self._proxy, self._seed = proxy(name), seed
        self._reference, self._number = reference, references
        self._images = random_images(shape, seed).to(device)
        self._measured: list[Parts] | None = None
        if compares(name) and references < _FEWEST:
            raise UserError(f"{name} needs at least 2 references, got {references}.", "Try references=16.")

    def score(self, net: nn.Module) -> tuple[float, dict[str, float]]:
        """The score, and its parts.

        Raises:
            ValueError: a part is not finite.
        """
        parts = self._parts(net)
        return self._proxy.score(parts, self.references()), parts

    def references(self) -> list[Parts]:
        """The parts of the reference networks; empty for a proxy that does not compare.

        Raises:
            UserError: not one of them has a score.
        """
        if self._measured is None:
            self._measured = self._measure() if self._proxy.rule != "single" else []
        return self._measured

    def _parts(self, net: nn.Module) -> dict[str, float]:
        return self._proxy.parts(Probe(net, self._images, self._seed))

    def _measure(self) -> list[Parts]:
        found: list[Parts] = []
        for number in range(self._number):
            try:
                found.append(self._parts(self._reference(number)))
            except ValueError:
                continue
        if not found:
            raise UserError(f"{self._proxy.name} is not finite for any of {self._number} random networks.")
        return found


def refuse_too_few(owner: str, batch_size: int, references: int) -> None:
    """Raise a UserError for numbers of images and networks that nothing can be compared among."""
    if batch_size < _FEWEST or references < _FEWEST:
        raise UserError(
            f"{owner} has batch_size={batch_size} and references={references}.",
            f"Both are at least {_FEWEST}.",
        )


def is_size(size: Any) -> bool:
    """Whether this is a height and a width in pixels."""
    return (
        isinstance(size, Sequence)
        and len(size) == _SIDES
        and all(isinstance(side, int) and side > 0 for side in size)
    )


def compares(name: str) -> bool:
    """Whether a proxy compares a network with others."""
    return proxy(name).rule != "single"
