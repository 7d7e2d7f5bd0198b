"""Statistics of policies and of source choices, with intervals over seeds.

Cells and steps of one seed are correlated, so a whole seed is the unit of every interval.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy.stats import mannwhitneyu, spearmanr, trim_mean
from scipy.stats import t as student_t

from slicing_rllib.evaluation.rollout import Rollout

SATISFIED = 0.95
"""Satisfaction below which a (cell, step) counts as failed, as in Fig. 5 of the paper."""
CONFIDENCE = 0.95
METRICS = ("reward_mean", "satisfaction_mean", "fail_rate_95", "delay_max_ms")

Interval = tuple[float, float]
PerSeed = Float[np.ndarray, " seed"]


Summary = dict[str, Any]
"""One row of the result table: the mean over seeds of each of METRICS, with 95 % t intervals over
seeds in `ci95` (None with fewer than two); `oracle_gap_closed`, the share of the reward difference
between `equal` and `oracle` that the policy gains (None where either was not run or both are
equal); and the number of `seeds`."""


def summarise(rollouts: Mapping[str, Sequence[Rollout]]) -> dict[str, Summary]:
    """Every policy's summary. `rollouts[name][i]` must be of the same seed for all policies.

    Raises: ValueError where policies have different numbers of rollouts.
    """
    table = {name: np.stack([seed_metrics(run) for run in runs]) for name, runs in rollouts.items()}
    return summarise_seeds(table)


def summarise_seeds(
    per_seed: Mapping[str, Float[np.ndarray, "seed metric"]],
) -> dict[str, Summary]:
    """As `summarise`, from the METRICS of each policy and seed, with seeds in the same order."""
    counts = {name: len(rows) for name, rows in per_seed.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"paired evaluation: expected as many seeds for every policy, got {counts}"
        )
    summaries: dict[str, Summary] = {}
    for name, rows in per_seed.items():
        columns = dict(zip(METRICS, rows.T, strict=True))
        means: Summary = {metric: float(column.mean()) for metric, column in columns.items()}
        ci95 = {metric: mean_interval(column) for metric, column in columns.items()}
        closed = None
        if "equal" in per_seed and "oracle" in per_seed:
            ends = (per_seed[end][:, 0] for end in ("equal", "oracle"))
            closed, ci95["oracle_gap_closed"] = summarise_gap(rows[:, 0], *ends)
        more = {"oracle_gap_closed": closed, "ci95": ci95, "seeds": len(rows)}
        summaries[str(name)] = means | more
    return summaries


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
    return np.asarray(cast("Any", trim_mean)(values, 0.25, axis=-1))


def mean_interval(per_seed: PerSeed) -> Interval | None:
    """95 % Student t interval of the mean over seeds; None with fewer than two seeds.

    A percentile bootstrap over 5 or 10 seeds covers only 84 or 89 % instead of 95.
    """
    n_seeds = len(per_seed)
    if n_seeds < 2 or not np.isfinite(per_seed).all():
        return None
    mean = float(np.mean(per_seed))
    error = float(np.std(per_seed, ddof=1)) / math.sqrt(n_seeds)
    margin = float(student_t.ppf(0.5 + CONFIDENCE / 2, n_seeds - 1)) * error
    return mean - margin, mean + margin


def summarise_values(values: PerSeed) -> dict[str, Any]:
    """`mean`, `ci95` and the number of `seeds` with a finite value; a mean of None without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": None, "ci95": None, "seeds": 0}
    return {"mean": float(finite.mean()), "ci95": mean_interval(finite), "seeds": len(finite)}


def summarise_gap(
    policy: PerSeed, start: PerSeed, end: PerSeed
) -> tuple[float | None, Interval | None]:
    """(policy - start) / (end - start) of mean rewards over seeds, and its 95 % interval.

    None without a gap; no interval with fewer than two seeds. The share is a ratio R of two means.
    Its t interval is that of the residuals (policy - start) - R (end - start) over the mean gap
    (delta method).
    """
    gap = float(np.mean(end) - np.mean(start))
    share = float((np.mean(policy) - np.mean(start)) / gap) if gap else math.nan
    if not math.isfinite(share):
        return None, None
    residuals = mean_interval((policy - start - share * (end - start)) / abs(gap))
    return share, None if residuals is None else (share + residuals[0], share + residuals[1])


def paired_difference(ours: PerSeed, theirs: PerSeed) -> tuple[float, Interval | None]:
    """Mean over seeds of ours − theirs, and its interval."""
    difference = ours - theirs
    return float(difference.mean()), mean_interval(difference)


def probability_of_improvement(ours: PerSeed, theirs: PerSeed) -> float:
    """Share of seeds on which ours is larger than theirs, with ties counted as half.

    Seeds are paired: ours is compared with theirs on the same seed only.
    """
    shares = np.where(ours == theirs, 0.5, ours > theirs)
    return float(shares.mean())


def group_auc(distances: Float[np.ndarray, "source target"], groups: Sequence[str]) -> float:
    """Probability that a pair within a group is nearer than a pair across groups.

    Ties count as half. Source: Mann & Whitney 1947, U divided by the number of comparisons.
    """
    same = np.equal.outer(groups, groups)
    apart = ~np.eye(len(groups), dtype=bool)
    within, across = distances[same & apart], distances[~same]
    return float(mannwhitneyu(across, within).statistic / (len(across) * len(within)))


PerSource = Float[np.ndarray, " source"]


def rank_correlation(distance: PerSource, gain: PerSource) -> float:
    """Spearman correlation of nearness with gain: 1 where a nearer source always gains more.

    NaN where all distances, or all gains, are equal.
    """
    if np.ptp(distance) == 0 or np.ptp(gain) == 0:
        return float("nan")
    return float(cast("Any", spearmanr)(-distance, gain).statistic)


def chosen_gain(distance: PerSource, gain: PerSource) -> float:
    """Gain of the nearest source; the mean of all nearest sources where several tie."""
    return float(gain[np.isclose(distance, distance.min(), rtol=1e-9, atol=0.0)].mean())


def selection_regret(distance: PerSource, gain: PerSource) -> float:
    """Largest gain - `chosen_gain`: what choosing the nearest source loses."""
    return float(gain.max() - chosen_gain(distance, gain))


def negative_transfer_rate(gain: Float[np.ndarray, " case"]) -> float:
    """Share of cases in which transfer does harm: P(gain < 0)."""
    return float(np.mean(gain < 0))


def summarise_hours(rollouts: Mapping[str, Sequence[Rollout]]) -> dict[str, Any] | None:
    """`by_hour`: every policy's summary by hour of the day; `busy_hour`: that with the most UEs.

    UEs count while they have traffic. None for traffic without a clock. `rollouts[name][i]` must be
    of the same seed for all policies, so that hours are the same.
    """
    runs = next(iter(rollouts.values()), ())
    if not runs or any((run.hour < 0).any() for run in runs):
        return None
    by_hour: dict[str, dict[str, Summary]] = {}
    active_ues: dict[int, float] = {}
    for hour in sorted({int(hour) for run in runs for hour in run.hour}):
        chosen = {
            name: [Rollout(*(column[run.hour == hour] for column in run)) for run in each]
            for name, each in rollouts.items()
        }
        if all(run.live.any() for each in chosen.values() for run in each):
            by_hour[str(hour)] = summarise(chosen)
            own = next(iter(chosen.values()))
            active_ues[hour] = float(np.mean(np.concatenate([run.active_ues for run in own])))
    if not by_hour:
        return None
    return {"busy_hour": max(active_ues, key=lambda hour: active_ues[hour]), "by_hour": by_hour}
