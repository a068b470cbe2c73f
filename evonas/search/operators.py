"""Variation of integer genes with explicit generators: draw, cross, mutate.

All arrays are integers; P pairs or parents, V positions of the layout.
"""

from collections.abc import Iterable

import numpy as np

from evonas.space.genotype import Genotype
from evonas.space.space import Space

_PATIENCE = 200


def draw_unseen(space: Space, rng: np.random.Generator, seen: set[Genotype], count: int) -> list[Genotype]:
    """Up to `count` distinct random points outside of `seen`; fewer only if the space has no more.

    A point that keeps being drawn again is replaced by the first unseen one in
    lexicographic order, so that even the last point of a small space is found.
    """
    drawn: dict[Genotype, None] = {}
    while len(drawn) < min(count, space.size() - len(seen)):
        known = (point for point in (space.sample(rng) for _ in range(_PATIENCE)))
        fresh = next((point for point in known if point not in seen and point not in drawn), None)
        if fresh is None:
            fresh = next(point for point in space.points() if point not in seen and point not in drawn)
        drawn[fresh] = None
    return list(drawn)


def draw_opening(
    space: Space, rng: np.random.Generator, given: Iterable[Genotype], seen: set[Genotype], count: int
) -> list[Genotype]:
    """Up to `count` distinct points outside of `seen`: the given ones first, then random ones."""
    fresh = [point for point in dict.fromkeys(given) if point not in seen][:count]
    return [*fresh, *draw_unseen(space, rng, seen.union(fresh), count - len(fresh))]


def change_one(space: Space, point: Genotype, rng: np.random.Generator) -> Genotype:
    """The point with one position set to another value, drawn uniformly: the step of regularized evolution.

    A position that is not expressed changes nothing, so another one is tried; in a space
    of one point, that point comes back.
    """
    counts = space.cardinalities
    for at in rng.permutation(np.flatnonzero(np.array(counts) > 1)).tolist():
        vector = list(point.genes)
        vector[at] = (vector[at] + int(rng.integers(1, counts[at]))) % counts[at]
        changed = space.repair(vector, rng)
        if changed != point:
            return changed
    return point


def change_each(space: Space, point: Genotype, gene_prob: float, rng: np.random.Generator) -> Genotype:
    """The point with each position drawn anew with a probability, repaired; at least one is changed."""
    counts = np.array(space.cardinalities)
    drawn = np.where(rng.random(counts.size) < gene_prob, rng.integers(counts), point.genes)
    changed = space.repair(drawn, rng)
    return changed if changed != point else change_one(space, point, rng)


def cross_points(
    space: Space, first: Genotype, second: Genotype, swap_prob: float, rng: np.random.Generator
) -> Genotype:
    """A child that takes each position from the second parent with a probability, repaired."""
    takes = rng.random(len(first.genes)) < swap_prob
    return space.repair(np.where(takes, second.genes, first.genes), rng)


def cross_two_point(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Swap one random inner segment of each pair; the ordinal half of EvoNAS's crossover.

    Args:
        first: (P, V) parents; fewer than three positions are crossed uniformly.
        second: (P, V) their partners.

    Returns:
        (2, P, V) children.
    """
    pairs, length = first.shape
    if length < 3:
        return cross_uniform(first, second, 0.5, rng)
    cuts = np.sort(rng.permuted(np.tile(np.arange(1, length), (pairs, 1)), axis=1)[:, :2], axis=1)
    at = np.arange(length)
    return _swap(first, second, (at >= cuts[:, :1]) & (at < cuts[:, 1:]))


def cross_uniform(
    first: np.ndarray, second: np.ndarray, swap_prob: float, rng: np.random.Generator
) -> np.ndarray:
    """Swap each position of each pair with a probability; the bit half of EvoNAS's crossover.

    Returns:
        (2, P, V) children.
    """
    return _swap(first, second, rng.random(first.shape) < swap_prob)


def mutate_ordinals(
    genes: np.ndarray, upper: np.ndarray, gene_prob: float, eta: float, rng: np.random.Generator
) -> np.ndarray:
    """Polynomial mutation within [0, upper], rounded to the nearest integer.

    Deb and Goyal, "A combined genetic adaptive search (GeneAS)", 1996, in the bounded form
    of Deb, "Multi-Objective Optimization using Evolutionary Algorithms", 2001, section 4.3.

    Args:
        genes: (P, V).
        upper: (V,) inclusive; positions with 0 stay.
        gene_prob: chance of each position.
        eta: distribution index; 1 spreads over the whole range, 20 seldom leaves the integer.
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


def flip_bits(bits: np.ndarray, gene_prob: float, rng: np.random.Generator) -> np.ndarray:
    """Flip each bit with a probability."""
    return np.where(rng.random(bits.shape) < gene_prob, 1 - bits, bits)


def _swap(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.stack([np.where(mask, second, first), np.where(mask, first, second)])
