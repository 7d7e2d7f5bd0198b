"""Summary statistics of rollouts, with intervals over seeds.

Cells and steps of one seed are correlated, so a whole seed is the unit of every interval.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import DegenerateDataWarning, bootstrap, mannwhitneyu, trim_mean

from slicing_rllib.evaluation.rollout import Rollout

SATISFIED = 0.95
"""Satisfaction below which a (cell, step) counts as failed, as in Fig. 5 of the paper."""
RESAMPLES = 2000
"""Resamples of a bootstrap interval."""
CONFIDENCE = 0.95
METRICS = ("reward_mean", "satisfaction_mean", "fail_rate_95", "delay_max_ms")

Interval = tuple[float, float]
PerSeed = Float[np.ndarray, " seed"]
Resampled = Float[np.ndarray, "*resample seed"]


@dataclass(frozen=True, kw_only=True)
class PolicySummary:
    """One row of the result table: means over seeds, and 95 % intervals by bootstrap over seeds."""

    reward_mean: float
    satisfaction_mean: float
    fail_rate_95: float
    delay_max_ms: float
    oracle_gap_closed: float | None
    """Share of the reward difference between `equal` and `oracle` that the policy gains; None where
    either was not run or both are equal."""
    ci95: dict[str, Interval | None]
    """By metric, the interval; None with fewer than two seeds."""
    seeds: int
    """Number of seeds."""


def summarise(
    rollouts: Mapping[str, Sequence[Rollout]], rng: np.random.Generator
) -> dict[str, PolicySummary]:
    """Every policy's summary. `rollouts[name][i]` must be of the same seed for all policies.

    Raises: ValueError where policies have different numbers of rollouts.
    """
    table = {name: np.stack([seed_metrics(run) for run in runs]) for name, runs in rollouts.items()}
    return summarise_seeds(table, rng)


def summarise_seeds(
    per_seed: Mapping[str, Float[np.ndarray, "seed metric"]], rng: np.random.Generator
) -> dict[str, PolicySummary]:
    """As `summarise`, from the METRICS of each policy and seed, with seeds in the same order."""
    counts = {name: len(rows) for name, rows in per_seed.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"paired evaluation: expected as many seeds for every policy, got {counts}"
        )
    return {name: _summarise_policy(name, per_seed, rng) for name in per_seed}


def seed_metrics(run: Rollout) -> Float[np.ndarray, " metric"]:
    """METRICS of one seed: means over all (cell, step) where the cell is live."""
    live = run.live
    satisfied = run.satisfaction[live]
    return np.array(
        [
            run.reward[live].mean(),
            satisfied.mean(),
            (satisfied < SATISFIED).mean(),
            run.delay_max_ms[live].mean(),
        ]
    )


def interquartile_mean(values: Float[np.ndarray, "*axes seed"]) -> Float[np.ndarray, "*axes"]:
    """Mean of the middle half of the seeds. Source: Agarwal et al. 2021, sec. 4.3."""
    return np.asarray(trim_mean(values, 0.25, axis=-1))


def seed_interval(
    statistic: Callable[..., Any], *per_seed: PerSeed, rng: np.random.Generator
) -> Interval | None:
    """95 % percentile bootstrap interval of `statistic(*per_seed, axis=...)`.

    All samples are resampled with the same seeds. None with fewer than two seeds, or where the
    statistic of some resample is not finite.
    """
    if len(per_seed[0]) < 2:
        return None
    with warnings.catch_warnings():
        # A ratio may have a zero denominator in some resample.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            per_seed,
            statistic,
            n_resamples=RESAMPLES,
            paired=True,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=rng,
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else None


def paired_difference(
    ours: PerSeed, theirs: PerSeed, rng: np.random.Generator
) -> tuple[float, Interval | None]:
    """Mean over seeds of ours - theirs, and its interval."""
    difference = ours - theirs
    return float(difference.mean()), seed_interval(np.mean, difference, rng=rng)


def probability_of_improvement(ours: PerSeed, theirs: PerSeed) -> float:
    """Share of seeds on which ours is larger than theirs, with ties counted as half.

    Seeds are paired: ours is compared with theirs on the same seed only.
    """
    return float(np.mean((ours > theirs) + 0.5 * (ours == theirs)))


def compute_gap_closed(
    policy: Resampled, equal: Resampled, oracle: Resampled, axis: Any = -1
) -> np.ndarray:
    """(policy - equal) / (oracle - equal), each a mean reward over `axis`; NaN without a gap."""
    start = equal.mean(axis=axis)
    gap = np.asarray(oracle.mean(axis=axis) - start)
    gap = np.where(gap == 0, np.nan, gap)
    return np.asarray((policy.mean(axis=axis) - start) / gap)


def _summarise_policy(
    name: str, per_seed: Mapping[str, Float[np.ndarray, "seed metric"]], rng: np.random.Generator
) -> PolicySummary:
    columns = dict(zip(METRICS, per_seed[name].T, strict=True))
    ci95 = {metric: seed_interval(np.mean, column, rng=rng) for metric, column in columns.items()}
    closed = None
    if "equal" in per_seed and "oracle" in per_seed:
        rewards = [per_seed[policy][:, 0] for policy in (name, "equal", "oracle")]
        share = float(compute_gap_closed(*rewards))
        closed = share if np.isfinite(share) else None
        ci95["oracle_gap_closed"] = seed_interval(compute_gap_closed, *rewards, rng=rng)
    return PolicySummary(
        **{metric: float(column.mean()) for metric, column in columns.items()},
        oracle_gap_closed=closed,
        ci95=ci95,
        seeds=len(per_seed[name]),
    )


def group_auc(distances: Float[np.ndarray, "source target"], groups: Sequence[str]) -> float:
    """Probability that a pair within a group is nearer than a pair across groups.

    Ties count as half. Source: Mann & Whitney 1947, U divided by the number of comparisons.
    """
    same = np.equal.outer(groups, groups)
    apart = ~np.eye(len(groups), dtype=bool)
    within, across = distances[same & apart], distances[~same]
    return float(mannwhitneyu(across, within).statistic / (len(across) * len(within)))
