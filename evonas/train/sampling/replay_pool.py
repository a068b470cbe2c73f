"""Replay pool: every step also trains earlier subnets, against catastrophic forgetting.

The method is NSAS (Zhang et al., Overcoming Multi-Model Forgetting in One-Shot NAS, CVPR 2020). Pool size,
replacement rule and loss weights are those of EvoNAS's ablation; unlike there, losses of pool members contribute
gradients.
"""

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.step import StepSampler


class ReplayPoolSampler:
    """Samples uniformly and appends the pool of earlier subnets.

    A new subnet replaces the pool member with the smallest Hamming distance (ties: the oldest). The pool of a step
    is a function of all earlier steps and is recomputed after a resume.
    """

    def __init__(self, uniform: StepSampler, size: int, share: float) -> None:
        self._uniform, self._size, self._share = uniform, size, share
        self._fresh = uniform.step.num_subnets
        self._known, self._pool = 0, list[Genotype]()

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step, new ones first."""
        return [*self._uniform.genotypes(step), *self._pool_before(step)]

    def weights(self, count: int) -> list[float]:
        """Loss weights; pool members have `share` of the total weight, once the pool is not empty."""
        pool = count - self._fresh
        share = self._share if pool else 0.0
        return [(1 - share) / self._fresh] * self._fresh + [share / max(1, pool)] * pool

    def _pool_before(self, step: int) -> list[Genotype]:
        """The pool after all earlier steps, oldest subnet first."""
        if step < self._known:
            self._known, self._pool = 0, []
        for earlier in range(self._known, step):
            # fixed subnets are trained at every step, so the pool excludes them
            for genotype in self._uniform.genotypes(earlier)[len(self._uniform.corners) :]:
                if len(self._pool) >= self._size:
                    nearest = min(self._pool, key=lambda member: hamming(member, genotype))
                    self._pool.remove(nearest)
                self._pool.append(genotype)
        self._known = step
        return list(self._pool)


class ReplayPoolSampling:
    """Strategy of uniform sampling with a replay pool.

    Args:
        size: subnets in the pool, trained in addition to `num_subnets`.
        share: share of the loss of pool members, in (0, 1).

    Raises:
        UserError: size is below 1, or share is outside (0, 1).
    """

    def __init__(self, size: int = 3, share: float = 0.2) -> None:
        if size < 1 or not 0 < share < 1:
            raise UserError(
                f"sampler.strategy needs size >= 1 and share in (0, 1), got size={size} share={share}.",
                "Try size=3 share=0.2.",
            )
        self.size, self.share = size, share

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> Sampler:  # noqa: ARG002
        """The sampler of one curriculum step; it ignores `costs` and `total_steps`."""
        return ReplayPoolSampler(uniform, self.size, self.share)


def hamming(first: Genotype, second: Genotype) -> int:
    """The Hamming distance: the number of genes in which two genotypes differ."""
    return sum(mine != theirs for mine, theirs in zip(first.genes, second.genes, strict=True))
