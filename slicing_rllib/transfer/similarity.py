"""How far cells are from each other, by what they experienced under one default action.

A measure takes one population per cell and answers (source, target) distances. None needs a loop
over pairs of samples except `mmd` and `energy`, whose definition is one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

PerPair = Float[np.ndarray, "source target"]
Points = Float[np.ndarray, "sample feature"]

PROJECTIONS = 64
QUANTILES = 100
TIE_BREAK = 1e-3
"""What the largest mean shift counts beside promises: a difference of 3 % in one of them."""
RIDGE = 1e-6
"""Added to covariances, so that a feature that never changes does not divide by zero."""


class Population(NamedTuple):
    """What is known of a cell. `mean` and `variance` are of its samples' latent posteriors."""

    raw: Points
    """[s, r] as measured."""
    mean: Float[np.ndarray, "sample latent"]
    variance: Float[np.ndarray, "sample latent"]
    sla: Float[np.ndarray, " sla"]
    """Required throughput and delay of every slice."""


Measure = Callable[[Sequence[Population]], PerPair]


def kl_paper(cells: Sequence[Population]) -> PerPair:
    """Mean KL divergence over all pairs of samples, in time linear in the samples.

    D_ik = 1/2 sum_l { E_k[ln v] - E_i[ln v] - 1 + E_i[v + mu^2] E_k[1/v] - 2 E_i[mu] E_k[mu/v]
    + E_k[mu^2/v] }. Not zero for a cell and itself. Source: the paper, eq. (7) and (8).
    """
    centre = np.mean([cell.mean.mean(axis=0) for cell in cells], axis=0)
    sums = [_kl_moments(cell.mean - centre, cell.variance) for cell in cells]
    log_v, second, first, inverse, slope, square = map(np.stack, zip(*sums, strict=True))
    mixed = second @ inverse.T - 2.0 * first @ slope.T
    alone = (log_v + square).sum(axis=1)[None, :] - log_v.sum(axis=1)[:, None]
    return 0.5 * (mixed + alone - log_v.shape[1])


def lemma1(cells: Sequence[Population]) -> PerPair:
    """(|m_i - m_k|^2 + tr C_i + tr C_k) / (2 sigma^2), sigma^2 the mean posterior variance.

    Not zero for a cell and itself, and smallest for the source that varies least: a flaw.
    Source: the paper, eq. (9).
    """
    spread = np.array([cell.mean.var(axis=0).sum() for cell in cells])
    sigma2 = np.mean([cell.variance.mean() for cell in cells])
    return (mean_shift(cells) + spread[:, None] + spread[None, :]) / (2.0 * sigma2)


def mean_shift(cells: Sequence[Population]) -> PerPair:
    """|m_i - m_k|^2 of the posterior means: Lemma 1 without its bias."""
    return _squared_distances(np.stack([cell.mean.mean(axis=0) for cell in cells]))


def frechet(cells: Sequence[Population]) -> PerPair:
    """Squared Frechet distance of Gaussians fitted to the posterior means."""
    return frechet_of([cell.mean for cell in cells])


def raw(cells: Sequence[Population]) -> PerPair:
    """Frechet distance of the standardised samples themselves: no VAE in it."""
    return frechet_of(standardised([cell.raw for cell in cells]))


def jeffreys(cells: Sequence[Population]) -> PerPair:
    """KL divergence both ways between Gaussians fitted to the posterior means."""
    means, covariances = _gaussians([cell.mean for cell in cells])
    inverse = np.linalg.inv(covariances)
    traces = np.einsum("iab,kba->ik", covariances, inverse)
    shift = means[:, None] - means[None, :]
    precision = inverse[:, None] + inverse[None, :]
    bent = np.einsum("ika,ikab,ikb->ik", shift, precision, shift)
    return np.maximum(0.5 * (traces + traces.T + bent) - means.shape[1], 0.0)


def mmd(cells: Sequence[Population]) -> PerPair:
    """Squared maximum mean discrepancy, RBF kernel as wide as the median distance.

    Source: Gretton et al. 2012, biased statistic.
    """
    means = [cell.mean for cell in cells]
    width = _median_distance(means)
    return _discrepancy(means, lambda a, b: np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2)))


def energy(cells: Sequence[Population]) -> PerPair:
    """2 E|x - y| - E|x - x'| - E|y - y'|. Source: Szekely & Rizzo 2013."""
    return _discrepancy([cell.mean for cell in cells], lambda a, b: -cdist(a, b))


def sliced_w2(cells: Sequence[Population]) -> PerPair:
    """Squared 2-Wasserstein distance, mean over fixed directions, by quantiles.

    Source: Bonneel et al. 2015.
    """
    directions = np.random.default_rng(0).standard_normal((cells[0].mean.shape[1], PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    curves = np.stack(
        [np.quantile(cell.mean @ directions, levels, axis=0).ravel() for cell in cells]
    )
    return _squared_distances(curves) / curves.shape[1]


def sla(cells: Sequence[Population]) -> PerPair:
    """Squared distance of the logarithms of what is promised: needs no sample at all."""
    return _squared_distances(np.log(np.stack([cell.sla for cell in cells])))


def sla_first(cells: Sequence[Population]) -> PerPair:
    """Distance of promises; where these are equal, the mean shift decides."""
    shift = mean_shift(cells)
    return sla(cells) + TIE_BREAK * shift / (shift.max() or 1.0)


MEASURES: dict[str, Measure] = {
    "kl_paper": kl_paper,
    "lemma1": lemma1,
    "mean_shift": mean_shift,
    "frechet": frechet,
    "jeffreys": jeffreys,
    "mmd": mmd,
    "energy": energy,
    "sliced_w2": sliced_w2,
    "sla": sla,
    "raw": raw,
    "sla_first": sla_first,
}
WITHOUT_VAE = ("sla", "raw")


def permutation_p_value(
    one: Points, other: Points, rng: np.random.Generator, *, block: int = 25, rounds: int = 499
) -> float:
    """How often chance alone sets two series this far apart, by energy distance.

    Blocks of consecutive samples are dealt out anew, since samples of one cell hang together in
    time. Small: they differ. Source: Szekely & Rizzo 2013; blocks as in Kuensch 1989.
    """
    joint = np.concatenate([one, other])
    kernel = -cdist(joint, joint)
    starts = np.arange(0, len(joint), block)
    first = np.arange(len(joint)) < len(one)
    observed = _two_sample(kernel, first)
    above = 0
    for _ in range(rounds):
        order = np.concatenate(
            [np.arange(start, min(start + block, len(joint))) for start in rng.permutation(starts)]
        )
        shuffled = np.zeros(len(joint), bool)
        shuffled[order[: len(one)]] = True
        above += _two_sample(kernel, shuffled) >= observed
    return (1 + above) / (1 + rounds)


def standardised(samples: Sequence[Points]) -> list[Points]:
    """By the pooled mean and deviation; a feature that never changes stays zero."""
    joint = np.concatenate(samples)
    scale = joint.std(axis=0)
    scale[scale == 0] = 1.0
    return [(cell - joint.mean(axis=0)) / scale for cell in samples]


def frechet_of(samples: Sequence[Points]) -> PerPair:
    """|m_i - m_k|^2 + tr(C_i + C_k - 2 (C_i^1/2 C_k C_i^1/2)^1/2). Source: Dowson & Landau 1982."""
    means, covariances = _gaussians(samples)
    values, vectors = np.linalg.eigh(covariances)
    roots = (vectors * np.sqrt(values)[:, None, :]) @ vectors.swapaxes(1, 2)
    traces = np.trace(covariances, axis1=1, axis2=2)
    shift = _squared_distances(means)
    overlap = np.stack([_root_traces(root, covariances) for root in roots])
    return np.maximum(shift + traces[:, None] + traces[None, :] - 2 * overlap, 0.0)


def _root_traces(root: Float[np.ndarray, "f f"], covariances: Float[np.ndarray, "cell f f"]):
    values = np.linalg.eigvalsh(root @ covariances @ root)
    return np.sqrt(np.maximum(values, 0.0)).sum(axis=1)


def _kl_moments(mean: Points, variance: Points) -> tuple[np.ndarray, ...]:
    inverse = 1.0 / variance
    columns = (
        np.log(variance),
        variance + mean**2,
        mean,
        inverse,
        mean * inverse,
        mean**2 * inverse,
    )
    return tuple(column.mean(axis=0) for column in columns)


def _gaussians(samples: Sequence[Points]) -> tuple[np.ndarray, np.ndarray]:
    means = np.stack([cell.mean(axis=0) for cell in samples])
    covariances = [
        (centred := cell - mean).T @ centred / len(cell)
        for cell, mean in zip(samples, means, strict=True)
    ]
    return means, np.stack(covariances) + RIDGE * np.eye(means.shape[1])


def _squared_distances(points: Float[np.ndarray, "cell feature"]) -> PerPair:
    return cdist(points, points, "sqeuclidean")


def _median_distance(samples: Sequence[Points], some: int = 100) -> float:
    """Over a thinned-out union; 1 where all samples are one."""
    thinned = np.concatenate([cell[:: max(len(cell) // some, 1)] for cell in samples])
    return float(np.median(cdist(thinned, thinned))) or 1.0


def _discrepancy(
    samples: Sequence[Points], kernel: Callable[[Points, Points], np.ndarray]
) -> PerPair:
    """K_ii + K_kk - 2 K_ik, for K the mean of a kernel over all pairs of samples."""
    means = np.zeros((len(samples), len(samples)))
    for i, one in enumerate(samples):
        for k in range(i + 1):
            means[i, k] = means[k, i] = kernel(one, samples[k]).mean()
    own = np.diag(means)
    return np.maximum(own[:, None] + own[None, :] - 2 * means, 0.0)


def _two_sample(kernel: np.ndarray, first: np.ndarray) -> float:
    weights = np.where(first, 1.0 / first.sum(), -1.0 / (~first).sum())
    return float(weights @ kernel @ weights)
