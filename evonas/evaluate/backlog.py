"""Queue of jobs, divided into passes: the jobs that a worker measures in one batch."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evonas.evaluate.engine import Job
from evonas.space.genotype import Genotype

# sort key of genotypes; neighbours in this order share most computation
Order = Callable[[Genotype], Any]


@dataclass(slots=True)
class QueuedJob:
    """A job without an outcome.

    Args:
        job: the job.
        attempts: how often a measurement of it raised, or its worker was lost while measuring it alone.
        workers: names of the workers on which that happened, in order.
        is_control: measures a genotype again that was measured before, to check a worker; it has no outcome.
    """

    job: Job
    attempts: int = 0
    workers: tuple[str, ...] = ()
    is_control: bool = False


@dataclass(slots=True)
class Pass:
    """Jobs that one worker measures in one batch; they have the same part and the same images.

    Args:
        members: the jobs.
        began: start time on the monotonic clock, in seconds.
        is_checked: whether the worker has measured a control directly before.
    """

    members: tuple[QueuedJob, ...]
    began: float = 0.0
    is_checked: bool = False

    @property
    def is_control(self) -> bool:
        """Whether the pass checks a worker."""
        return self.members[0].is_control

    @property
    def jobs(self) -> list[Job]:
        """The jobs, in the order of the answers."""
        return [each.job for each in self.members]

    @property
    def images(self) -> int | None:
        """Number of images that data objectives use; None for all."""
        return self.members[0].job.images

    @property
    def request(self) -> dict[str, Any]:
        """The request to the worker, as plain JSON data; a genotype is the name of its space and its genes."""
        first = self.members[0].job
        genotypes = [[job.genotype.space, job.genotype.genes] for job in self.jobs]
        return {"genotypes": genotypes, "part": first.part, "images": first.images}


class Backlog:
    """Queue of jobs of one part.

    Args:
        order: sort key of genotypes, so that jobs that share computation join one pass; None keeps the order
            of arrival.
    """

    def __init__(self, order: Order | None = None) -> None:
        self._order = order
        self._jobs: list[QueuedJob] = []
        self._passes: deque[Pass] = deque()

    def __len__(self) -> int:
        return len(self._jobs) + sum(len(each.members) for each in self._passes)

    def add(self, jobs: Iterable[Job]) -> None:
        """Append jobs."""
        self._jobs += [QueuedJob(job) for job in jobs]

    def put_back(self, lost: Pass) -> None:
        """Return a pass that was not started to the front of the queue."""
        self._passes.appendleft(lost)

    def split(self, lost: Iterable[QueuedJob]) -> None:
        """Append jobs as passes of one job each."""
        self._passes.extend(Pass((each,)) for each in lost)

    def clear(self) -> None:
        """Remove all jobs."""
        self._jobs.clear()
        self._passes.clear()

    def take(self, workers: int, limit: int, suits: Callable[[Pass], bool] = lambda _: True) -> Pass | None:
        """Remove and return the first pass that suits; None if there is none.

        Queued jobs are divided evenly into the smallest multiple of `workers` passes of at most `limit` jobs,
        so that workers finish at about the same time.
        """
        found = self._first(suits)
        if found is None and self._jobs:
            self._cut(workers, limit)
            found = self._first(suits)
        return found

    def _first(self, suits: Callable[[Pass], bool]) -> Pass | None:
        found = next((each for each in self._passes if suits(each)), None)
        if found is not None:
            # by identity, since passes of equal jobs are equal
            self._passes = deque(each for each in self._passes if each is not found)
        return found

    def _cut(self, workers: int, limit: int) -> None:
        jobs, self._jobs = self._jobs, []
        order = self._order
        if order is not None and limit > 1:
            jobs = sorted(jobs, key=lambda each: order(each.job.genotype))
        by_images: dict[int | None, list[QueuedJob]] = {}
        for each in jobs:
            by_images.setdefault(each.job.images, []).append(each)
        for alike in by_images.values():
            rounds = math.ceil(len(alike) / (limit * workers))
            # consecutive groups whose sizes differ by at most one
            count = min(len(alike), rounds * workers)
            cuts = [len(alike) * place // count for place in range(count + 1)]
            self._passes.extend(Pass(tuple(alike[begin:end])) for begin, end in pairwise(cuts))
