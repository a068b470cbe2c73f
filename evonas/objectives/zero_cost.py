"""A training-free score of a subnet, negated, so that the best score is the least number."""

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
from evonas.supernets.extract import StaticNet

VERSION = 3
WEIGHTS = ("random", "inherited")


class ZeroCost:
    """Minus a proxy of `evonas/proxies` on random images; neither data nor labels are read.

    SasWOT and AZ-NAS make one number of several parts by comparison with reference networks: genotypes drawn
    from the seed, measured once in every worker. A detector answers with no tensor that has slopes: its score
    is that of its backbone, and the deepest map is the answer.

    Args:
        proxy: its name, as in `evonas/proxies/catalogue.py`.
        weights: `random` draws them for every subnet, `inherited` cuts them out of the supernet.
        batch_size: images.
        size: height and width of the images in pixels; None for the task's.
        references: networks of the comparison.
        seed: of weights, images, targets and references.
        name: of the objective, for searches that measure several proxies.

    Raises:
        UserError: the proxy or the kind of weights is unknown, or a number is too small.
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
            raise UserError(f"{name} cannot use '{weights}' weights.", f"Choose among {', '.join(WEIGHTS)}.")
        refuse_too_few(name, batch_size, references)
        if size is not None and not is_size(size):
            raise UserError(f"{name} has size={size}.", "Height and width in pixels, such as size=[64,64]")
        self.name, self._weights, self._seed = name, weights, seed
        self._batch_size, self._size, self._number = batch_size, size, references

    def prepare(self, context: EvaluationContext) -> None:
        """Draw the images and measure the references, if the proxy compares."""
        self._context = context
        shape = (self._batch_size, 3, *self._image_size(context))
        self._scorer = Scorer(self._proxy, shape, self._seed, self._reference, self._number, context.device)
        self._scorer.references()

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """Minus the score, and its parts; ValueError where a part is not finite."""
        score, parts = self._scorer.score(self._network(genotype))
        return -score, {f"{self.name}_parts": parts}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Proxy, weights, images and head; space and network are in every identity."""
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
    """A head that answers with the last of its maps."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return levels[-1]
