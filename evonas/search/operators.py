"""Sampling, crossover and mutation of integer genes with explicit random generators.

All arrays hold integers; P pairs or parents, V positions of the genotype vector.
"""

from collections.abc import Iterable

import numpy as np

from evonas.space.genotype import Genotype
from evonas.space.space import Space

_MAX_DRAWS = 200


def sample_unseen(space: Space, rng: np.random.Generator, seen: set[Genotype], count: int) -> list[Genotype]:
    """Sample `count` distinct random points outside `seen`; fewer only if the space is exhausted.

    If 200 draws in a row yield no unseen point, the first unseen point in lexicographic order is taken, so
    that small spaces are sampled completely.
    """
    drawn: dict[Genotype, None] = {}
    while len(drawn) < min(count, space.size() - len(seen)):
        known = (point for point in (space.sample(rng) for _ in range(_MAX_DRAWS)))
        fresh = next((point for point in known if point not in seen and point not in drawn), None)
        if fresh is None:
            fresh = next(point for point in space.points() if point not in seen and point not in drawn)
        drawn[fresh] = None
    return list(drawn)


def sample_initial(
    space: Space, rng: np.random.Generator, given: Iterable[Genotype], seen: set[Genotype], count: int
) -> list[Genotype]:
    """Up to `count` distinct points outside `seen`: first the given points, then random ones."""
    fresh = [point for point in dict.fromkeys(given) if point not in seen][:count]
    return [*fresh, *sample_unseen(space, rng, seen.union(fresh), count - len(fresh))]


def mutate_one(space: Space, point: Genotype, rng: np.random.Generator) -> Genotype:
    """Set one random position to another value, drawn uniformly (the mutation of regularized evolution).

    Changing an unexpressed position yields the same point; then another position is tried. Returns `point`
    itself only in a space of one point.
    """
    counts = space.cardinalities
    for at in rng.permutation(np.flatnonzero(np.array(counts) > 1)).tolist():
        vector = list(point.genes)
        vector[at] = (vector[at] + int(rng.integers(1, counts[at]))) % counts[at]
        changed = space.repair(vector, rng)
        if changed != point:
            return changed
    return point


def mutate_each(space: Space, point: Genotype, gene_prob: float, rng: np.random.Generator) -> Genotype:
    """Resample each position with probability `gene_prob` and repair; at least one position changes."""
    counts = np.array(space.cardinalities)
    drawn = np.where(rng.random(counts.size) < gene_prob, rng.integers(counts), point.genes)
    changed = space.repair(drawn, rng)
    return changed if changed != point else mutate_one(space, point, rng)


def crossover(
    space: Space, first: Genotype, second: Genotype, swap_prob: float, rng: np.random.Generator
) -> Genotype:
    """Uniform crossover: take each position from `second` with probability `swap_prob`, then repair."""
    takes = rng.random(len(first.genes)) < swap_prob
    return space.repair(np.where(takes, second.genes, first.genes), rng)


def two_point_crossover(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two-point crossover of each pair; EvoNAS's crossover of axis genes.

    Args:
        first: (P, V) first parents; for V < 3 the crossover is uniform.
        second: (P, V) second parents.

    Returns:
        (2, P, V) children.
    """
    pairs, length = first.shape
    if length < 3:
        return uniform_crossover(first, second, 0.5, rng)
    cuts = np.sort(rng.permuted(np.tile(np.arange(1, length), (pairs, 1)), axis=1)[:, :2], axis=1)
    at = np.arange(length)
    return _swap(first, second, (at >= cuts[:, :1]) & (at < cuts[:, 1:]))


def uniform_crossover(
    first: np.ndarray, second: np.ndarray, swap_prob: float, rng: np.random.Generator
) -> np.ndarray:
    """Uniform crossover of each pair; EvoNAS's crossover of bit genes.

    Returns:
        (2, P, V) children.
    """
    return _swap(first, second, rng.random(first.shape) < swap_prob)


def polynomial_mutation(
    genes: np.ndarray, upper: np.ndarray, gene_prob: float, eta: float, rng: np.random.Generator
) -> np.ndarray:
    """Bounded polynomial mutation within [0, upper], rounded to the nearest integer.

    Deb and Goyal, "A combined genetic adaptive search (GeneAS)", 1996, in the bounded form of Deb,
    "Multi-Objective Optimization using Evolutionary Algorithms", 2001, section 4.3.

    Args:
        genes: (P, V) parents.
        upper: (V,) inclusive upper bounds; positions with bound 0 stay 0.
        gene_prob: mutation probability per position.
        eta: distribution index; 1 spreads over the whole range, 20 rarely changes the integer.
    """
    span = np.maximum(upper, 1).astype(float)
    place = genes / span
    draw = rng.random(genes.shape)
    power = 1.0 / (eta + 1.0)
    low = (2 * draw + (1 - 2 * draw) * (1 - place) ** (eta + 1)) ** power - 1
    high = 1 - (2 * (1 - draw) + (2 * draw - 1) * place ** (eta + 1)) ** power
    moved = np.rint(genes + np.where(draw <= 0.5, low, high) * span)
    changed = np.clip(moved, 0, upper).astype(genes.dtype)
    return np.where(rng.random(genes.shape) < gene_prob, changed, genes)


def bit_flip_mutation(bits: np.ndarray, gene_prob: float, rng: np.random.Generator) -> np.ndarray:
    """Flip each bit with probability `gene_prob`."""
    return np.where(rng.random(bits.shape) < gene_prob, 1 - bits, bits)


def _swap(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.stack([np.where(mask, second, first), np.where(mask, first, second)])
