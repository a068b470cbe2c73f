"""One search over several tasks: each genotype is measured with the supernet of every one of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evonas.errors import UserError
from evonas.evaluate.engine import Measurement, Part
from evonas.objectives.base import Objective, Pooled
from evonas.objectives.evaluator import Evaluator, made

# what objectives that look at data note beside their value
_OF_A_TASK = ("metrics", "errors", "error_sizes")


@dataclass(frozen=True, slots=True)
class OfTask:
    """An objective of one task, under the name that it has in a joint search."""

    name: str
    unit: str
    part: Part


class JointEvaluator:
    """Evaluators of several tasks over one space as one.

    Objectives that look at data belong to every task and are called `<objective>_<task>`; the others, such as
    costs, are those of the first task's network and keep their names. Build it with `_recursive_: false`.

    Args:
        members: name of each task -> keywords of its `Evaluator`, without objectives.
        objectives: config of each objective by name, in the order of the search's vectors.
        shared_dir: as for `Evaluator`.

    Raises:
        UserError: there are fewer than two tasks, or no objective looks at data.
    """

    def __init__(
        self,
        members: Mapping[str, Mapping[str, Any]],
        objectives: Mapping[str, Mapping[str, Any]],
        shared_dir: str | None = None,
    ) -> None:
        if len(members) < 2:
            raise UserError(
                "A joint search needs the runs of two tasks or more.", "Try: 'joint=[<run>,<run>]'"
            )
        built = made(objectives)
        looking = {key: objectives[key] for key, each in built.items() if isinstance(each, Pooled)}
        if not looking:
            raise UserError("No objective of this search looks at a task.", "Try: 'objective=[error,macs]'")
        self._built: tuple[Objective, ...] = tuple(built.values())
        self._looking = {built[key].name for key in looking}
        self._members: dict[str, Evaluator] = {}
        for task, keywords in members.items():
            of_task = looking if self._members else objectives
            self._members[task] = Evaluator(**keywords, objectives=of_task, shared_dir=shared_dir)

    @cached_property
    def objectives(self) -> tuple[Objective | OfTask, ...]:
        """The objectives, in order; one that looks at data is there once for each task."""
        found: list[Objective | OfTask] = []
        for each in self._built:
            if each.name in self._looking:
                found += [OfTask(f"{each.name}_{task}", each.unit, each.part) for task in self._members]
            else:
                found.append(each)
        return tuple(found)

    @property
    def weights_digest(self) -> str:
        """The sha256 of every weights file, in the order of the tasks."""
        return "+".join(member.weights_digest for member in self._members.values())

    @property
    def num_images(self) -> int:
        """How many images the smallest holdout split has."""
        return min(member.num_images for member in self._members.values())

    def setup(self) -> None:
        """Load every supernet and holdout split."""
        for member in self._members.values():
            member.setup()

    def measure(self, genotype: str, part: Part) -> Measurement:
        """Values of the part's objectives, and what they found besides."""
        [answer] = self.measure_together([genotype], part)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_together(
        self, genotypes: Sequence[str], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        """As `Evaluator.measure_together`, task after task; what fails in one is not tried in the next."""
        found: list[Measurement | Exception] = [Measurement({}, {}) for _ in genotypes]
        for task, member in self._members.items():
            alive = [index for index, each in enumerate(found) if isinstance(each, Measurement)]
            answers = member.measure_together([genotypes[index] for index in alive], part, images)
            for index, answer in zip(alive, answers, strict=True):
                found[index] = self._joined(found[index], task, answer)
        return found

    def identity(self, part: Part, images: int | None = None) -> dict[str, Any]:
        """That of every task which has something to measure in the part, by name."""
        found = {task: member.identity(part, images) for task, member in self._members.items()}
        return {"joint": {task: each for task, each in found.items() if each["objectives"]}}

    def fingerprint(self, part: Part, images: int | None = None) -> str:
        """The sha256 of the part's identity."""
        text = json.dumps(self.identity(part, images), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _joined(
        self, so_far: Measurement | Exception, task: str, answer: Measurement | Exception
    ) -> Measurement | Exception:
        if isinstance(so_far, Exception):
            return so_far
        if isinstance(answer, Exception):
            return type(answer)(f"{task}: {answer}") if type(answer) is ValueError else answer
        values = {_named(name, task, self._looking): value for name, value in answer.objectives.items()}
        facts = {_named(name, task, _OF_A_TASK): value for name, value in answer.extra.items()}
        return Measurement({**so_far.objectives, **values}, {**so_far.extra, **facts})


def _named(name: str, task: str, of_task: Any) -> str:
    return f"{name}_{task}" if name in of_task else name
