"""Distances between cells, computed from what they experienced under the same default action.

A measure takes one population per cell and returns a matrix of (source, target) distances. Only
`mmd` and `energy` evaluate all pairs of samples, because they are defined by these; the time of
the other measures is linear in the number of samples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

PerPair = Float[np.ndarray, "source target"]
Points = Float[np.ndarray, "sample feature"]

PROJECTIONS = 64
"""Directions of `sliced_w2`."""
QUANTILES = 100
"""Quantiles per direction of `sliced_w2`."""
TIE_BREAK = 1e-3
"""Weight of the largest mean shift in `sla_first`: a difference of about 3 % in one requirement."""
RIDGE = 1e-6
"""Added to the diagonal of covariances, so that a constant feature leaves them invertible."""
BLOCK_STEPS = 25
"""Length of the blocks that resampling and permutation tests draw, in samples. Samples of a cell
are autocorrelated, so single samples must not be drawn independently."""
THINNED_SAMPLES = 100
"""Samples per cell, at least, that the kernel width of `mmd` is estimated from."""


class Population(NamedTuple):
    """A cell's samples, for measures."""

    raw: Points
    """[s, r] as measured."""
    mean: Float[np.ndarray, "sample latent"]
    """Mean of each sample's latent posterior."""
    variance: Float[np.ndarray, "sample latent"]
    """Variance of each sample's latent posterior, per latent dimension."""
    sla: Float[np.ndarray, " sla"]
    """Required throughput of every slice in Mbit/s, then every slice's delay bound in ms."""


Measure = Callable[[Sequence[Population]], PerPair]


def without_vae(measure: Measure) -> Measure:
    """Marks a measure that reads neither `Population.mean` nor `variance`: no VAE is trained."""
    vars(measure)["needs_vae"] = False
    return measure


def needs_vae(measure: Measure) -> bool:
    """Whether the measure reads the latent space of a VAE; true for those without a mark."""
    return getattr(measure, "needs_vae", True)


def kl_paper(cells: Sequence[Population]) -> PerPair:
    """Mean KL divergence over all pairs of samples, in time linear in the samples.

    D_ik = 1/2 sum_l { E_k[ln v] - E_i[ln v] - 1 + E_i[v + mu^2] E_k[1/v] - 2 E_i[mu] E_k[mu/v]
    + E_k[mu^2/v] }. The distance of a cell from itself is not zero.

    Source: the paper, eq. (7) and (8).
    """
    centre = np.mean([cell.mean.mean(axis=0) for cell in cells], axis=0)
    moments = []
    for cell in cells:
        mean, inverse = cell.mean - centre, 1.0 / cell.variance
        terms = (np.log(cell.variance), cell.variance + mean**2, mean)
        terms += (inverse, mean * inverse, mean**2 * inverse)
        moments.append([term.mean(axis=0) for term in terms])
    log_v, second, first, inverse, slope, square = np.swapaxes(moments, 0, 1)
    mixed = second @ inverse.T - 2.0 * first @ slope.T
    alone = (log_v + square).sum(axis=1)[None, :] - log_v.sum(axis=1)[:, None]
    return 0.5 * (mixed + alone - log_v.shape[1])


def lemma1(cells: Sequence[Population]) -> PerPair:
    """(|m_i - m_k|^2 + tr C_i + tr C_k) / (2 sigma^2), sigma^2 the mean posterior variance.

    The distance of a cell from itself is not zero. The measure has a flaw: the term tr C_i makes
    it favour the source whose samples vary least.

    Source: the paper, eq. (9).
    """
    spread = np.array([cell.mean.var(axis=0).sum() for cell in cells])
    sigma2 = np.mean([cell.variance.mean() for cell in cells])
    return (mean_shift(cells) + spread[:, None] + spread[None, :]) / (2.0 * sigma2)


def mean_shift(cells: Sequence[Population]) -> PerPair:
    """|m_i - m_k|^2 of the posterior means: Lemma 1 without the traces that bias it."""
    return _squared_distances(np.stack([cell.mean.mean(axis=0) for cell in cells]))


def frechet(cells: Sequence[Population]) -> PerPair:
    """Squared Frechet distance of Gaussians fitted to the posterior means."""
    return frechet_distances([cell.mean for cell in cells])


@without_vae
def raw(cells: Sequence[Population]) -> PerPair:
    """Squared Frechet distance of Gaussians fitted to the standardised samples; needs no VAE."""
    return frechet_distances(standardise([cell.raw for cell in cells]))


def jeffreys(cells: Sequence[Population]) -> PerPair:
    """KL divergence in both directions, summed, of Gaussians fitted to the posterior means."""
    means, covariances = _fit_gaussians([cell.mean for cell in cells])
    inverse = np.linalg.inv(covariances)
    traces = np.einsum("iab,kba->ik", covariances, inverse)
    shift = means[:, None] - means[None, :]
    precision = inverse[:, None] + inverse[None, :]
    mahalanobis = np.einsum("ika,ikab,ikb->ik", shift, precision, shift)
    return np.maximum(0.5 * (traces + traces.T + mahalanobis) - means.shape[1], 0.0)


def mmd(cells: Sequence[Population]) -> PerPair:
    """Squared maximum mean discrepancy with an RBF kernel as wide as the median distance.

    Source: Gretton et al. 2012, the biased statistic.
    """
    means = [cell.mean for cell in cells]
    thinned = np.concatenate([cell[:: max(len(cell) // THINNED_SAMPLES, 1)] for cell in means])
    width = float(np.median(cdist(thinned, thinned))) or 1.0
    return _discrepancy(means, lambda a, b: np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2)))


def energy(cells: Sequence[Population]) -> PerPair:
    """Energy distance 2 E|x - y| - E|x - x'| - E|y - y'|. Source: Szekely & Rizzo 2013."""
    return _discrepancy([cell.mean for cell in cells], lambda a, b: -cdist(a, b))


def sliced_w2(cells: Sequence[Population]) -> PerPair:
    """Squared 2-Wasserstein distance of quantiles, averaged over fixed random directions.

    Source: Bonneel et al. 2015.
    """
    directions = np.random.default_rng(0).standard_normal((cells[0].mean.shape[1], PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    projected = (cell.mean @ directions for cell in cells)
    curves = np.stack([np.quantile(points, levels, axis=0).ravel() for points in projected])
    return _squared_distances(curves) / curves.shape[1]


@without_vae
def sla(cells: Sequence[Population]) -> PerPair:
    """Squared distance of the logarithms of the SLAs; needs no samples."""
    return _squared_distances(np.log(np.stack([cell.sla for cell in cells])))


def sla_first(cells: Sequence[Population]) -> PerPair:
    """Distance of the SLAs; among sources with equal SLAs the mean shift decides."""
    shift = mean_shift(cells)
    return sla(cells) + TIE_BREAK * shift / (shift.max() or 1.0)


def permutation_p_value(
    one: Points,
    other: Points,
    rng: np.random.Generator,
    *,
    block: int = BLOCK_STEPS,
    rounds: int = 499,
) -> float:
    """p-value of the hypothesis that two series have the same distribution, by energy distance.

    Blocks of `block` consecutive samples are permuted `rounds` times, because the samples, in the
    order of time, are autocorrelated. The least p-value is 1 / (1 + rounds).

    Source: Szekely & Rizzo 2013; blocks as in Kuensch 1989.
    """
    joint = np.concatenate([one, other])
    kernel = -cdist(joint, joint)
    rows = np.arange(len(joint))
    starts, first = rows[::block], rows < len(one)

    def statistic(first: np.ndarray) -> float:
        """K_11 + K_22 - 2 K_12 for the samples in `first` (a mask) and all others."""
        weights = np.where(first, 1.0 / first.sum(), -1.0 / (~first).sum())
        return float(weights @ kernel @ weights)

    observed = statistic(first)
    as_extreme = 0
    for _ in range(rounds):
        order = np.concatenate([rows[start : start + block] for start in rng.permutation(starts)])
        shuffled = np.zeros(len(joint), bool)
        shuffled[order[: len(one)]] = True
        as_extreme += statistic(shuffled) >= observed
    return (1 + as_extreme) / (1 + rounds)


def standardise(samples: Sequence[Points]) -> list[Points]:
    """Samples minus the pooled mean over the pooled deviation; a constant feature becomes zero."""
    joint = np.concatenate(samples)
    centre, scale = joint.mean(axis=0), joint.std(axis=0)
    scale[scale == 0] = 1.0
    return [(cell - centre) / scale for cell in samples]


def frechet_distances(samples: Sequence[Points]) -> PerPair:
    """Squared Frechet distance of Gaussians that are fitted to each cell's samples.

    |m_i - m_k|^2 + tr(C_i + C_k - 2 (C_i^1/2 C_k C_i^1/2)^1/2). Source: Dowson & Landau 1982.
    """
    means, covariances = _fit_gaussians(samples)
    values, vectors = np.linalg.eigh(covariances)
    roots = (vectors * np.sqrt(values)[:, None, :]) @ vectors.swapaxes(1, 2)
    traces = np.trace(covariances, axis1=1, axis2=2)
    shift = _squared_distances(means)
    squares = (np.linalg.eigvalsh(root @ covariances @ root) for root in roots)
    cross_traces = np.stack([np.sqrt(np.maximum(s, 0.0)).sum(axis=1) for s in squares])
    return np.maximum(shift + traces[:, None] + traces[None, :] - 2 * cross_traces, 0.0)


def _fit_gaussians(samples: Sequence[Points]) -> tuple[np.ndarray, np.ndarray]:
    means = np.stack([cell.mean(axis=0) for cell in samples])
    centred = (cell - mean for cell, mean in zip(samples, means, strict=True))
    covariances = np.stack([cell.T @ cell / len(cell) for cell in centred])
    return means, covariances + RIDGE * np.eye(means.shape[1])


def _squared_distances(points: Float[np.ndarray, "cell feature"]) -> PerPair:
    return cdist(points, points, "sqeuclidean")


def _discrepancy(
    samples: Sequence[Points], kernel: Callable[[Points, Points], np.ndarray]
) -> PerPair:
    """K_ii + K_kk - 2 K_ik, for K the mean of a kernel over all pairs of samples."""
    means = np.zeros((len(samples), len(samples)))
    for i, one in enumerate(samples):
        for k in range(i + 1):
            means[i, k] = means[k, i] = kernel(one, samples[k]).mean()
    within = np.diag(means)
    return np.maximum(within[:, None] + within[None, :] - 2 * means, 0.0)
