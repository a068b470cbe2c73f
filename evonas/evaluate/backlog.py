"""What waits to be measured, cut into passes: the jobs that a worker is given at a time."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evonas.evaluate.engine import Job

# of a genotype's text; jobs that lie together in this order have most in common
Order = Callable[[str], Any]


@dataclass(slots=True)
class Pending:
    """A job without an outcome, and how often it lost a worker that measured it alone."""

    job: Job
    attempts: int = 0


@dataclass(slots=True)
class Pass:
    """Jobs that one worker measures together, and when it began with them (monotonic).

    All of them are of one part and look at the same images.
    """

    members: tuple[Pending, ...]
    began: float = 0.0

    @property
    def jobs(self) -> list[Job]:
        """The jobs, in the order in which they are answered."""
        return [each.job for each in self.members]

    @property
    def images(self) -> int | None:
        """How many images the data objectives look at; None for all."""
        return self.members[0].job.images

    @property
    def request(self) -> dict[str, Any]:
        """What the worker is sent, as plain JSON data."""
        first = self.members[0].job
        genotypes = [job.genotype for job in self.jobs]
        return {"genotypes": genotypes, "part": first.part, "images": first.images}


class Backlog:
    """Jobs of one part that wait for a worker.

    Args:
        order: brings jobs together that share work; None keeps the order in which they came.
    """

    def __init__(self, order: Order | None = None) -> None:
        self._order = order
        self._loose: list[Pending] = []
        self._passes: deque[Pass] = deque()

    def __len__(self) -> int:
        return len(self._loose) + sum(len(each.members) for each in self._passes)

    def add(self, jobs: Iterable[Job]) -> None:
        """Let more jobs wait."""
        self._loose += [Pending(job) for job in jobs]

    def put_back(self, lost: Pass) -> None:
        """Let a pass wait again that was not begun."""
        self._passes.appendleft(lost)

    def split(self, lost: Pass) -> None:
        """Let the members of a pass wait again, each for a worker of its own."""
        self._passes.extend(Pass((each,)) for each in lost.members)

    def clear(self) -> None:
        """Forget what waits."""
        self._loose.clear()
        self._passes.clear()

    def take(self, workers: int, limit: int) -> Pass | None:
        """The next pass, or None if nothing waits.

        What waits is cut evenly: into as few passes of at most `limit` jobs as give each of the
        `workers` equally many, so that none is idle while another has a heap before it.
        """
        if not self._passes:
            self._cut(workers, limit)
        return self._passes.popleft() if self._passes else None

    def _cut(self, workers: int, limit: int) -> None:
        waiting, self._loose = self._loose, []
        order = self._order
        if order is not None and limit > 1:
            waiting = sorted(waiting, key=lambda each: order(each.job.genotype))
        by_images: dict[int | None, list[Pending]] = {}
        for each in waiting:
            by_images.setdefault(each.job.images, []).append(each)
        for alike in by_images.values():
            rounds = math.ceil(len(alike) / (limit * workers))
            self._passes.extend(map(Pass, _even(alike, min(len(alike), rounds * workers))))


def _even(members: Sequence[Pending], count: int) -> list[tuple[Pending, ...]]:
    """`members` in `count` runs whose lengths differ by one at most."""
    cuts = [len(members) * place // count for place in range(count + 1)]
    return [tuple(members[begin:end]) for begin, end in pairwise(cuts)]
