"""What rollouts say about policies, with intervals: a seed is the unit, never a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import trim_mean

from slicing_rllib.evaluation.rollout import Rollout

SATISFIED = 0.95
"""Satisfaction below which a (cell, step) counts as failed, as in Fig. 5 of the paper."""
RESAMPLES = 2000
CONFIDENCE = 0.95
METRICS = ("reward_mean", "satisfaction_mean", "fail_rate_95", "delay_max_ms")

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PolicySummary:
    """One row of the result table. Means over seeds; `ci95` by bootstrap over whole seeds."""

    reward_mean: float
    satisfaction_mean: float
    fail_rate_95: float
    delay_max_ms: float
    oracle_gap_closed: float | None
    """Share of the way from equal share to the oracle; None where either was not run."""
    ci95: dict[str, Interval | None]
    """Per metric; None with fewer than two seeds."""
    seeds: int


def summarise(
    rollouts: Mapping[str, Sequence[Rollout]], rng: np.random.Generator
) -> dict[str, PolicySummary]:
    """Every policy's summary; `rollouts[name][i]` are paired: one seed i for all policies.

    Raises: ValueError where policies were run on different numbers of seeds.
    """
    per_seed = {
        name: np.stack([seed_metrics(run) for run in runs]) for name, runs in rollouts.items()
    }
    counts = {name: len(rows) for name, rows in per_seed.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"paired evaluation: expected as many seeds for every policy, got {counts}"
        )
    seeds = next(iter(counts.values()), 0)
    draws = rng.integers(seeds, size=(RESAMPLES, seeds)) if seeds > 1 else None
    return {name: _summary(name, per_seed, draws) for name in per_seed}


def seed_metrics(run: Rollout) -> Float[np.ndarray, " metric"]:
    """METRICS of one seed, over its live (cell, step)."""
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


def bootstrap_interval(
    resampled: Float[np.ndarray, " resample"], confidence: float = CONFIDENCE
) -> Interval:
    """Percentile interval of a resampled statistic."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)


def gap_closed(
    reward: Float[np.ndarray, "*draw"],
    equal: Float[np.ndarray, "*draw"],
    oracle: Float[np.ndarray, "*draw"],
) -> Float[np.ndarray, "*draw"]:
    """Share of the equal-share -> oracle gap in mean reward that a policy closes."""
    return (reward - equal) / (oracle - equal)


def _summary(
    name: str,
    per_seed: Mapping[str, Float[np.ndarray, "seed metric"]],
    draws: np.ndarray | None,
) -> PolicySummary:
    rows = per_seed[name]
    mean = dict(zip(METRICS, rows.mean(axis=0).tolist(), strict=True))
    ci95: dict[str, Interval | None] = dict.fromkeys((*METRICS, "oracle_gap_closed"))
    if draws is not None:
        for column, metric in enumerate(METRICS):
            ci95[metric] = bootstrap_interval(rows[draws, column].mean(axis=1))
    closed = None
    if "equal" in per_seed and "oracle" in per_seed:
        rewards = [per_seed[policy][:, 0] for policy in (name, "equal", "oracle")]
        closed = float(gap_closed(*(np.asarray(reward.mean()) for reward in rewards)))
        if draws is not None:
            resampled = gap_closed(*(reward[draws].mean(axis=1) for reward in rewards))
            ci95["oracle_gap_closed"] = bootstrap_interval(resampled)
    return PolicySummary(**mean, oracle_gap_closed=closed, ci95=ci95, seeds=len(rows))
