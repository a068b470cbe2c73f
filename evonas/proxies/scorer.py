"""Scorer: computes one proxy with fixed images and reference networks."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from evonas.errors import UserError
from evonas.proxies.catalogue import Parts, proxy
from evonas.proxies.inputs import random_images
from evonas.proxies.probe import Probe

# minimum number of images and of reference networks
_FEWEST = 2


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
        """The parts of the reference networks; empty for a proxy that does not compare networks.

        Raises:
            UserError: no reference network has a score.
        """
        if self._measured is not None:
            return self._measured
        found: list[Parts] = []
        for number in range(self._number if self._proxy.rule != "single" else 0):
            # networks without a finite score are excluded
            with suppress(ValueError):
                found.append(self._parts(self._reference(number)))
        if not found and self._proxy.rule != "single":
            raise UserError(f"{self._proxy.name} is not finite for any of {self._number} random networks.")
        self._measured = found
        return found

    def _parts(self, net: nn.Module) -> dict[str, float]:
        return self._proxy.parts(Probe(net, self._images, self._seed))


def refuse_too_few(owner: str, batch_size: int, references: int) -> None:
    """Raises a UserError if there are fewer than two images or reference networks."""
    if batch_size < _FEWEST or references < _FEWEST:
        raise UserError(
            f"{owner} needs at least {_FEWEST} images and references, got batch_size={batch_size} "
            f"references={references}.",
            f"Try {owner}.batch_size=8 {owner}.references=16.",
        )


def is_size(size: Any) -> bool:
    """Whether `size` is a height and a width in pixels."""
    return (
        isinstance(size, Sequence)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
    )


def compares(name: str) -> bool:
    """Whether a proxy combines its parts by comparison with reference networks."""
    return proxy(name).rule != "single"
