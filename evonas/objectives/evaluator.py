"""The evaluator: runs the objectives of one search inside a worker."""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from evonas.config import build
from evonas.data.loading.holdout import ORDER
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.base import Objective, Pooled
from evonas.objectives.context import EvaluationContext
from evonas.space.genotype import Genotype


def made(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Objective]:
    """The objectives by their keys in the config; nothing is loaded.

    Raises:
        UserError: one cannot be made, or two have one name: the values of one would be lost.
    """
    built = {key: build(config) for key, config in configs.items()}
    known: dict[str, str] = {}
    for key, objective in built.items():
        if objective.name in known:
            raise _twins(built, known[objective.name], key)
        known[objective.name] = key
    return built


def _twins(built: Mapping[str, Objective], first: str, second: str) -> UserError:
    name = built[second].name
    wrong = second if second != name else first
    may_be_named = "name" in inspect.signature(type(built[wrong])).parameters
    naming = f"Write objective.{wrong}.name={wrong}, with a + before it where there is no name yet."
    return UserError(
        f"objective.{first} and objective.{second} are both called '{name}'.",
        naming if may_be_named else "Leave one of them out.",
    )


class Evaluator:
    """Measures genotypes by name of part; built from plain config, so that any process can make its own.

    Building it is cheap: nothing is loaded before `setup`, and `fingerprint` loads neither network nor image.
    Build it with `_recursive_: false`, because its arguments are configs.

    Args:
        space: config of the space.
        network: config of the backbone, without `space`.
        task: config of the task.
        objectives: config of each objective by name, in the order of the search's vectors.
        weights: path of the supernet's weights.
        batch_size: images at a time on the holdout split.
        device: torch's name of a device.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        shared_dir: private folder where the workers of a machine keep one copy of the decoded holdout
            split, to be removed when they have ended; None for a copy each. It changes no number.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        network: Mapping[str, Any],
        task: Mapping[str, Any],
        objectives: Mapping[str, Mapping[str, Any]],
        weights: str,
        batch_size: int = 8,
        device: str = "cpu",
        precision: str = "32-true",
        shared_dir: str | None = None,
    ) -> None:
        if not objectives:
            raise UserError("No objective is chosen.", "Try: 'objective=[error,latency,macs]'")
        self._configs = objectives
        self._context = EvaluationContext(
            space, network, task, weights, batch_size, device, precision, shared_dir
        )

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, in order."""
        return tuple(made(self._configs).values())

    @property
    def weights_digest(self) -> str:
        """The sha256 of the weights file."""
        return self._context.weights_digest

    def setup(self) -> None:
        """Load the supernet and the holdout split."""
        for objective in self.objectives:
            objective.prepare(self._context)

    def measure(self, genotype: str, part: Part) -> Measurement:
        """Values of the part's objectives; what they found besides is merged."""
        [answer] = self.measure_together([genotype], part)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_together(
        self, genotypes: Sequence[str], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        """What `measure` gives for each, or the exception it raises, in one pass over the holdout split.

        Args:
            genotypes: in any order, and with repetitions.
            images: look at the first so many holdout images only, in a fixed order that mixes the split.
                Then the extra facts hold `errors`, the error on each piece of the data, and `error_sizes`,
                its images: a piece is an image where the task's error is a mean over images, else a batch
                (the last may be smaller). Pieces without truth are left out, the same for every genotype.
                The pieces of fewer images are the first of those of more, where they are images or
                the smaller number is a multiple of the batch size. Objectives that look at no data ignore it.
        """
        found: list[Measurement | Exception] = [Measurement({}, {}) for _ in genotypes]
        points: dict[int, Genotype] = {}
        for index, text in enumerate(genotypes):
            try:
                points[index] = self._context.space.parse(text)
            except Exception as error:
                found[index] = error
        for objective in self._of(part):
            asked = list(points)
            answers = _ask(objective, [points[index] for index in asked], images)
            for index, answer in zip(asked, answers, strict=True):
                found[index] = _merged(found[index], objective.name, answer)
                if isinstance(answer, Exception):
                    del points[index]
        return found

    @property
    def num_images(self) -> int:
        """How many images the holdout split has."""
        return self._context.num_images

    def identity(self, part: Part, images: int | None = None) -> dict[str, Any]:
        """Everything the part's numbers depend on besides the genotype, as plain JSON data.

        A number of images makes other facts than the whole split, even if it is as large.
        """
        context = self._context
        limited = {} if images is None else {"images": images, "order": ORDER}
        return {
            "space": dict(context.space_config),
            "network": dict(context.network_config),
            "objectives": {objective.name: dict(objective.identity(context)) for objective in self._of(part)},
            **limited,
        }

    def fingerprint(self, part: Part, images: int | None = None) -> str:
        """The sha256 of the part's identity: facts may be shared where it is equal."""
        text = json.dumps(self.identity(part, images), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _of(self, part: Part) -> list[Objective]:
        return [objective for objective in self.objectives if objective.part == part]


def _ask(
    objective: Objective, points: Sequence[Genotype], images: int | None
) -> Sequence[tuple[float, Mapping[str, Any]] | Exception]:
    if isinstance(objective, Pooled):
        return objective.measure_together(points, images)
    return [_attempt(objective, point) for point in points]


def _attempt(objective: Objective, point: Genotype) -> tuple[float, Mapping[str, Any]] | Exception:
    try:
        return objective.measure(point)
    except Exception as error:
        return error


def _merged(
    so_far: Measurement | Exception, name: str, answer: tuple[float, Mapping[str, Any]] | Exception
) -> Measurement | Exception:
    if isinstance(so_far, Exception):
        return so_far
    if isinstance(answer, Exception):
        return answer
    value, facts = answer
    return Measurement({**so_far.objectives, name: value}, {**so_far.extra, **facts})
