"""A pool of earlier subnets whose losses are part of every step, so that they are not forgotten.

After NSAS (Zhang et al., CVPR 2020: one-shot NAS against catastrophic forgetting); the sizes, the rule of
replacement and the weights are those of EvoNAS's ablation, whose pool had no gradient; this one has.
"""

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.step import StepSampler


class PoolSampler:
    """The subnets of an opening's plain draws, then the pool as it was before them.

    Each new subnet replaces the member that is nearest in Hamming distance, the oldest of equals. The
    pool of a step follows from all draws before it, so it is found by drawing them again.
    """

    def __init__(self, inside: StepSampler, size: int, share: float) -> None:
        self._inside, self._size, self._share = inside, size, share
        self._fresh = inside.step.num_subnets
        self._known, self._pool = 0, list[Genotype]()

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step, the new ones first."""
        return [*self._inside.genotypes(step), *self._pool_before(step)]

    def weights(self, count: int) -> list[float]:
        """`share` of the loss is the pool's, as soon as there is one."""
        pool = count - self._fresh
        share = self._share if pool else 0.0
        return [(1 - share) / self._fresh] * self._fresh + [share / max(1, pool)] * pool

    def _pool_before(self, step: int) -> list[Genotype]:
        if step < self._known:
            self._known, self._pool = 0, []
        for earlier in range(self._known, step):
            # what is always trained needs no reminder
            for genotype in self._inside.genotypes(earlier)[len(self._inside.corners) :]:
                self._take(genotype)
        self._known = step
        return list(self._pool)

    def _take(self, genotype: Genotype) -> None:
        """The pool is in order of age, the oldest first."""
        if len(self._pool) >= self._size:
            self._pool.remove(min(self._pool, key=lambda member: hamming(member, genotype)))
        self._pool.append(genotype)


class Pool:
    """The draw: plain ones beside a pool.

    Args:
        size: subnets in the pool; they are trained besides `num_subnets`.
        share: of the loss that is the pool's.
    """

    def __init__(self, size: int = 3, share: float = 0.2) -> None:
        if size < 1 or not 0 < share < 1:
            raise UserError(f"sampler.draw: size={size} share={share} make no pool.", "Try size=3 share=0.2.")
        self.size, self.share = size, share

    def sampler(self, inside: StepSampler, costs: CostTable, total_steps: int) -> Sampler:  # noqa: ARG002
        """A sampler of one curriculum step; neither costs nor its length matter."""
        return PoolSampler(inside, self.size, self.share)


def hamming(first: Genotype, second: Genotype) -> int:
    """In how many places two genotypes differ."""
    return sum(mine != theirs for mine, theirs in zip(first.genes, second.genes, strict=True))
