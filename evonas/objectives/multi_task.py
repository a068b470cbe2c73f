"""Multi-task evaluation: measures each genotype with the supernet of every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evonas.errors import InfeasibleError, UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.base import Objective, Pooled, fingerprint_of
from evonas.objectives.evaluator import Evaluator, made
from evonas.space.genotype import Genotype

# facts of data objectives, stored per task
_PER_TASK = ("metrics", "errors", "error_sizes", "metrics_int8", "int8")


@dataclass(frozen=True, slots=True)
class TaskObjective:
    """An objective of one task, with its name in the multi-task search."""

    name: str
    unit: str
    part: Part


class JointEvaluator:
    """Evaluator of several tasks over one space.

    Data objectives are measured for every task and named `<objective>_<task>`; others, such as costs, are measured on
    the first task's network and keep their names. The config needs `_recursive_: false`.

    Args:
        members: keywords of the `Evaluator` of each task, without objectives, by name of the task.
        objectives: config of each objective by key, in the order of the search's objective vectors.
        shared_dir: see `Evaluator`.

    Raises:
        UserError: there are fewer than two tasks, or no data objective.
    """

    def __init__(
        self,
        members: Mapping[str, Mapping[str, Any]],
        objectives: Mapping[str, Mapping[str, Any]],
        shared_dir: str | None = None,
    ) -> None:
        if len(members) < 2:
            raise UserError(
                "A multi-task search needs the runs of at least two tasks.",
                "Try: 'multi_task_runs=[<run>,<run>]'",
            )
        built = made(objectives)
        pooled = {key: objectives[key] for key, each in built.items() if isinstance(each, Pooled)}
        if not pooled:
            raise UserError(
                "A multi-task search needs an objective that evaluates data.", "Try: 'objective=[error,macs]'"
            )
        self._built: tuple[Objective, ...] = tuple(built.values())
        self._pooled = {built[key].name for key in pooled}
        self._members: dict[str, Evaluator] = {}
        for task, keywords in members.items():
            measured = pooled if self._members else objectives
            self._members[task] = Evaluator(**keywords, objectives=measured, shared_dir=shared_dir)

    @cached_property
    def objectives(self) -> tuple[Objective | TaskObjective, ...]:
        """The objectives in order; data objectives occur once per task."""
        found: list[Objective | TaskObjective] = []
        for each in self._built:
            if each.name in self._pooled:
                found += [
                    TaskObjective(f"{each.name}_{task}", each.unit, each.part) for task in self._members
                ]
            else:
                found.append(each)
        return tuple(found)

    @property
    def weights_digest(self) -> str:
        """The sha256 of every weights file, in the order of the tasks."""
        return "+".join(member.weights_digest for member in self._members.values())

    @property
    def num_images(self) -> int:
        """Number of images of the smallest validation split."""
        return min(member.num_images for member in self._members.values())

    def setup(self) -> None:
        """Loads every supernet and validation split."""
        for member in self._members.values():
            member.setup()

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """Values and additional facts of the objectives of `part`."""
        [answer] = self.measure_together([genotype], part)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        """See `Evaluator.measure_together`; runs task after task and skips genotypes that failed before."""
        found: list[Measurement | Exception] = [Measurement({}, {}) for _ in genotypes]
        for task, member in self._members.items():
            alive = [index for index, each in enumerate(found) if isinstance(each, Measurement)]
            answers = member.measure_together([genotypes[index] for index in alive], part, images)
            for index, answer in zip(alive, answers, strict=True):
                found[index] = self._joined(found[index], task, answer)
        return found

    def identity(self, part: Part, images: int | None = None) -> dict[str, Any]:
        """The identities of all tasks with objectives in `part`, by name of the task."""
        found = {task: member.identity(part, images) for task, member in self._members.items()}
        return {"joint": {task: each for task, each in found.items() if each["objectives"]}}

    def fingerprint(self, part: Part, images: int | None = None) -> str:
        """The sha256 of the identity."""
        return fingerprint_of(self.identity(part, images))

    def _joined(
        self, so_far: Measurement | Exception, task: str, answer: Measurement | Exception
    ) -> Measurement | Exception:
        if isinstance(so_far, Exception):
            return so_far
        if isinstance(answer, Exception):
            return type(answer)(f"{task}: {answer}") if isinstance(answer, InfeasibleError) else answer
        values = {_named(name, task, self._pooled): value for name, value in answer.objectives.items()}
        facts = {_named(name, task, _PER_TASK): value for name, value in answer.extra.items()}
        return Measurement({**so_far.objectives, **values}, {**so_far.extra, **facts})


def _named(name: str, task: str, of_task: Any) -> str:
    return f"{name}_{task}" if name in of_task else name
