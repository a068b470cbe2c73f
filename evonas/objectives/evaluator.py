"""Evaluator: measures the objectives of a search in a worker process."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import nn

from evonas.config import build
from evonas.data.loading.batches import ORDER
from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.base import AnyNetwork, Objective, Pooled, fingerprint_of
from evonas.objectives.context import EvaluationContext
from evonas.space.genotype import Genotype
from evonas.tasks.base import Task


def made(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Objective]:
    """Builds objectives from their configs, by key; loads no data.

    Raises:
        UserError: an objective cannot be built, or two have the same name.
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
    naming = f"Set objective.{wrong}.name={wrong}, with a + in front if the config has no name."
    return UserError(
        f"objective.{first} and objective.{second} are both called '{name}'.",
        naming if may_be_named else "Remove one of them.",
    )


class Evaluator:
    """Measures the objectives of genotypes; built from configs, so that every worker process builds its own.

    Construction is cheap: nothing is loaded before `setup`, and `fingerprint` loads neither network nor images. The
    config needs `_recursive_: false`, since the arguments are configs.

    Args:
        space: config of the space.
        network: config of the supernet's family, without `space`.
        task: config of the task.
        objectives: config of each objective by key, in the order of the search's objective vectors.
        weights: weights file of the supernet.
        batch_size: images per batch of the validation split.
        device: torch device.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        shared_dir: private folder in which the workers of a machine share the decoded validation split; the caller
            removes it afterwards. None for one copy per worker. It does not affect results.

    Raises:
        UserError: there is no objective.
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
        self._ready: list[Objective] = []

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives in order."""
        return tuple(made(self._configs).values())

    @property
    def task(self) -> Task:
        """The task, built once; its images are read by `setup`."""
        return self._context.task

    @property
    def context(self) -> EvaluationContext:
        """Supernet, task and device, loaded lazily."""
        return self._context

    @property
    def weights_digest(self) -> str:
        """The sha256 of the weights file."""
        return self._context.weights_digest

    def setup(self) -> None:
        """Loads the supernet and the validation split."""
        for objective in self.objectives:
            objective.prepare(self._context)

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """Values and additional facts of the objectives of `part`."""
        [answer] = self.measure_together([genotype], part)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_network(self, net: nn.Module) -> Measurement:
        """The objectives of a network outside the space, as far as they measure any; needs no `setup`.

        Args:
            net: in eval mode on the evaluator's device.
        """
        values, facts = dict[str, float](), dict[str, Any]()
        for objective in self.objectives:
            if isinstance(objective, AnyNetwork):
                if objective not in self._ready:
                    objective.prepare(self._context)
                    self._ready.append(objective)
                values[objective.name], found = objective.measure_network(net)
                facts |= found
        return Measurement(values, facts)

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        """For each genotype the result of `measure`, or the exception it raises, in one pass over the validation split.

        Args:
            genotypes: in any order, possibly repeated; sorted by path they share most computation.
            part: `shared` or `exclusive`.
            images: number of validation images, in a fixed shuffled order; None for the whole split. With a number, the
                facts contain `errors`, the error of each data piece, and `error_sizes`, its number of images.
                A piece is an image if the task's error is a mean over images, else a batch (the last may be
                smaller). Pieces without ground truth are omitted for every genotype. The pieces of fewer images are
                the first of those of more images, if pieces are images or the smaller number is a multiple of the
                batch size. Objectives without data ignore it.
        """
        found: list[Measurement | Exception] = [Measurement({}, {}) for _ in genotypes]
        points: dict[int, Genotype] = {}
        for index, genotype in enumerate(genotypes):
            try:
                points[index] = self._context.space.canonical(genotype)
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
        """Number of images of the validation split."""
        return self._context.num_images

    def identity(self, part: Part, images: int | None = None) -> dict[str, Any]:
        """Everything the values of `part` depend on besides the genotype, as JSON data.

        A number of images gives another identity than None, even if it covers the whole split.
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
        """The sha256 of the identity; values with equal fingerprints may be reused."""
        return fingerprint_of(self.identity(part, images))

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
