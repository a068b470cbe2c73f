"""Objective `zero_cost`: a negated zero-cost proxy of a subnet."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.nn.detection.base import RegionHead
from evonas.objectives.context import EvaluationContext
from evonas.proxies.catalogue import proxy as known
from evonas.proxies.scorer import Scorer, compares, is_size, refuse_too_few
from evonas.randomness import derive, generator
from evonas.space.genotype import Genotype
from evonas.supernets.static_net import StaticNet

VERSION = 3
WEIGHTS = ("random", "inherited")


class ZeroCost:
    """The negative score of a proxy of `evonas/proxies` on random images; reads neither data nor labels.

    SasWOT and AZ-NAS combine several statistics by their rank among reference networks, which are sampled from the
    seed and scored once per worker. The outputs of a detector have no gradient, so the score of a detector is that of
    its backbone with the deepest map as output.

    Args:
        proxy: name of the proxy, as in `evonas/proxies/catalogue.py`.
        weights: `random` initialises every subnet, `inherited` extracts it from the supernet.
        batch_size: number of images.
        size: height and width of the images in pixels; None for those of the task.
        references: number of reference networks.
        seed: seed of weights, images, targets and references.
        name: name of the objective, for searches with several proxies.

    Raises:
        UserError: proxy or weights are unknown, or a number is too small.
    """

    unit = ""
    part: Part = "shared"

    def __init__(
        self,
        proxy: str = "saswot",
        weights: str = "random",
        batch_size: int = 8,
        size: Sequence[int] | None = None,
        references: int = 16,
        seed: int = 0,
        name: str = "zero_cost",
    ) -> None:
        self._proxy = known(proxy).name
        if weights not in WEIGHTS:
            raise UserError(f"{name}.weights={weights} is unknown.", f"Choose among {', '.join(WEIGHTS)}.")
        refuse_too_few(name, batch_size, references)
        if size is not None and not is_size(size):
            raise UserError(
                f"{name}.size must be height and width in pixels, got {size}.", "Try size=[64,64]."
            )
        self.name, self._weights, self._seed = name, weights, seed
        self._batch_size, self._size, self._number = batch_size, size, references

    def prepare(self, context: EvaluationContext) -> None:
        """Samples the images and scores the reference networks, if the proxy uses them."""
        self._context = context
        shape = (self._batch_size, 3, *self._image_size(context))
        self._scorer = Scorer(self._proxy, shape, self._seed, self._reference, self._number, context.device)
        self._scorer.references()

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The negative score, and its parts.

        Raises:
            ValueError: a part is not finite.
        """
        score, parts = self._scorer.score(self._network(genotype))
        return -score, {f"{self.name}_parts": parts}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Proxy, weights, images and head; every identity contains space and network."""
        inherited = {"digest": context.weights_digest} if self._weights == "inherited" else {}
        return {
            **inherited,
            **({"references": self._number} if compares(self._proxy) else {}),
            **context.kernels,
            "version": VERSION,
            "proxy": self._proxy,
            "weights": self._weights,
            "images": [self._batch_size, *self._image_size(context)],
            "seed": self._seed,
            "head": context.head_config,
            "device": context.device.type,
        }

    def _image_size(self, context: EvaluationContext) -> tuple[int, ...]:
        return tuple(self._size or context.input_size)

    def _reference(self, number: int) -> nn.Module:
        rng = generator(self._seed, "zero_cost/references", number)
        return self._network(self._context.space.sample(rng))

    def _network(self, genotype: Genotype) -> nn.Module:
        context = self._context
        if self._weights == "inherited":
            net = context.subnet(genotype)
        else:
            net = context.untrained(genotype, derive(self._seed, "zero_cost/weights"))
        return StaticNet(net.backbone, _Deepest()) if isinstance(net.head, RegionHead) else net


class _Deepest(nn.Module):
    """A head that returns the deepest map."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return levels[-1]
