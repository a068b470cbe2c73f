"""Formulas of diffusion evolution: noise schedules, estimate of the origin, DDIM step, mutation.

Zhang et al., "Diffusion models are evolutionary algorithms", ICLR 2025 (arXiv 2410.02543), and
Song et al., "Denoising diffusion implicit models", ICLR 2021. N individuals, D relaxed gene values, T time steps.
"""

from collections.abc import Callable

import numpy as np

_TINY = 1e-9

Schedule = Callable[[int], np.ndarray]


def cosine_schedule(steps: int) -> np.ndarray:
    """(T,) alpha_t = (cos(pi t / (T - 1)) + 1) / 2: 1 (no noise) at t = 0, 0 (all noise) at T - 1."""
    return np.asarray((np.cos(np.pi * np.arange(steps) / (steps - 1)) + 1) / 2)


def linear_schedule(steps: int) -> np.ndarray:
    """(T,) alpha falling linearly from 1 to 0."""
    return np.linspace(1.0, 0.0, steps)


def ddpm_schedule(steps: int) -> np.ndarray:
    """(T,) cumulative products of 1 - beta, beta rising evenly from 1e-4 to 0.02 per thousand steps.

    Ho et al., "Denoising diffusion probabilistic models", 2020; betas grow as T shrinks, so that the
    last alpha is about 4e-5 whatever T.
    """
    betas = np.clip(np.linspace(1e-4, 0.02, steps) * 1000 / steps, 0.0, 0.999)
    alphas = np.cumprod(1 - betas)
    return np.asarray(np.concatenate([[1.0], alphas[1:]]))


SCHEDULES: dict[str, Schedule] = {"cosine": cosine_schedule, "linear": linear_schedule, "ddpm": ddpm_schedule}


def random_projection(width: int, latent: int, rng: np.random.Generator) -> np.ndarray:
    """(L, D) random unit vectors; latent diffusion evolution computes distances after this projection."""
    rows = rng.standard_normal((latent, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def estimate_origin(
    noisy: np.ndarray, quality: np.ndarray, alpha: float, projection: np.ndarray | None = None
) -> np.ndarray:
    """(N, D) estimated origins: the mean of all individuals, weighted by quality and proximity.

    x0_i = sum_j Q_j N(x_i; sqrt(a) x_j, 1 - a) x_j / sum_j Q_j N(x_i; sqrt(a) x_j, 1 - a), with a small
    constant added to quality and proximity, so that distant individuals have an estimate, too.

    Args:
        noisy: (N, D) individuals.
        quality: (N,) non-negative densities; individuals with density 0 are ignored.
        alpha: alpha of the current step, below 1.
        projection: (L, D) projection of latent diffusion evolution.
    """
    seen = noisy if projection is None else noisy @ projection.T
    squared = ((seen[:, None, :] - np.sqrt(alpha) * seen[None, :, :]) ** 2).sum(axis=2)
    nearness = np.exp(-squared / (2 * (1 - alpha))) + _TINY
    weights = np.where(quality > 0, quality + _TINY, 0.0) * nearness
    return np.asarray(weights @ noisy / (weights.sum(axis=1, keepdims=True) + _TINY * _TINY))


def denoise(
    noisy: np.ndarray,
    origin: np.ndarray,
    alpha: float,
    alpha_next: float,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """(N, D) individuals after one DDIM step from alpha to the larger alpha_next.

    eps = (x - sqrt(a) x0) / sqrt(1 - a); sigma = s sqrt((1 - a') / (1 - a) (1 - a / a'));
    x' = sqrt(a') x0 + sqrt(1 - a' - sigma^2) eps + sigma w, w ~ N(0, I).

    Args:
        noisy: (N, D) individuals.
        origin: (N, D) from `estimate_origin`.
        alpha: alpha of the current step (a).
        alpha_next: alpha of the next step (a').
        noise: s, from 0 (deterministic) to 1.
        rng: random generator of w.
    """
    guessed = (noisy - np.sqrt(alpha) * origin) / np.sqrt(1 - alpha)
    sigma = noise * np.sqrt((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next))
    kept = np.sqrt(max(1 - alpha_next - sigma**2, 0.0))
    fresh = sigma * rng.standard_normal(noisy.shape)
    return np.asarray(np.sqrt(alpha_next) * origin + kept * guessed + fresh)


def polynomial_mutation(values: np.ndarray, eta: float, prob: float, rng: np.random.Generator) -> np.ndarray:
    """Polynomial mutation within [-1, 1] with one random number per individual; EDNAG's mutation.

    With u uniform, d1 = (x + 1) / 2, d2 = (1 - x) / 2 and p = 1 / (eta + 1): delta =
    (2u + (1 - 2u)(1 - d1)^(eta + 1))^p - 1 for u <= 1/2, else 1 - (2(1 - u) + (2u - 1)(1 - d2)^(eta + 1))^p;
    x moves by 2 delta (Zhou et al., arXiv 2504.17827; operator of Deb and Goyal, 1996).

    Args:
        values: (N, D) individuals within [-1, 1].
        eta: distribution index; larger values move less.
        prob: mutation probability per individual.
        rng: random generator.
    """
    drawn = rng.random((len(values), 1))
    near_low, near_high = (values + 1) / 2, (1 - values) / 2
    power = 1 / (eta + 1)
    down = (2 * drawn + (1 - 2 * drawn) * (1 - near_low) ** (eta + 1)) ** power - 1
    # clipped because the base is negative where the other branch is taken
    up = 1 - np.maximum(2 * (1 - drawn) + (2 * drawn - 1) * (1 - near_high) ** (eta + 1), 0.0) ** power
    moved = np.clip(values + 2 * np.where(drawn <= 0.5, down, up), -1.0, 1.0)
    return np.where(rng.random((len(values), 1)) < prob, moved, values)
