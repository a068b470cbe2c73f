"""An evaluator with an error on every image, in closed form: what racing needs, without networks.

A module, so that workers find it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.tabular.analytic import PARTS_OF, AnalyticEvaluator
from evonas.randomness import derive, generator
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space


@dataclass
class Sampled:
    """The analytic trade-off, with images that are harder or easier for all and for each genotype.

    The error on an image is the analytic error times the image's hardness, plus noise of the genotype. A
    factory of itself.

    Args:
        names: among error, macs, latency.
        num_images: of the validation split.
        noise: deviation of a genotype's error on an image.
        spoilt: on which numbers of images (None: all) every tenth genotype cannot be measured.
        events: a file in which every execution is noted before it begins, or None.
    """

    names: tuple[str, ...] = ("error", "macs")
    num_images: int = 256
    noise: float = 0.03
    spoilt: tuple[int | None, ...] = ()
    events: str | None = None

    def __call__(self) -> "Sampled":
        return self

    @property
    def objectives(self) -> list[SimpleNamespace]:
        """Names and parts."""
        return [SimpleNamespace(name=name, part=PARTS_OF[name]) for name in self.names]

    def fingerprint(self, part: Part, images: int | None = None) -> str:
        """Tells parts and numbers of images apart."""
        return f"{part}-{'all' if images is None else images}"

    def setup(self) -> None:
        """Draw the images."""
        self.space = evonet_space()
        self.inner = AnalyticEvaluator(self.space, self.names)
        self.inner.setup()
        self.hardness = generator(0, "images").lognormal(0.0, 0.4, self.num_images)

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """On all images."""
        [answer] = self.measure_together([genotype], part)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        """See `evonas.evaluate.engine.BatchEvaluator`."""
        return [self._measured(genotype, part, images) for genotype in genotypes]

    def errors(self, genotype: Genotype) -> np.ndarray:
        """On every image."""
        error = self.inner.measure(genotype, "shared").objectives["error"]
        own = generator(derive(0, self.space.format(genotype)), "noise").normal(
            0.0, self.noise, self.num_images
        )
        return np.asarray(error * self.hardness + own)

    def is_spoilt(self, genotype: Genotype) -> bool:
        """About every tenth."""
        return sum(genotype.genes) % 10 == 0

    def _measured(self, genotype: Genotype, part: Part, images: int | None) -> Measurement | Exception:
        self._note(f"{part} {images} {self.space.format(genotype)}")
        if part == "shared" and images in self.spoilt and self.is_spoilt(genotype):
            return ValueError("spoilt")
        found = dict(self.inner.measure(genotype, part).objectives)
        if part == "exclusive":
            return Measurement(found)
        errors = self.errors(genotype)[:images].tolist()
        extra = {} if images is None else {"errors": errors, "error_sizes": [1] * len(errors)}
        return Measurement({**found, "error": float(np.mean(errors))}, extra)

    def _note(self, line: str) -> None:
        if self.events is not None:
            handle = os.open(self.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, f"{line}\n".encode())
            os.close(handle)
