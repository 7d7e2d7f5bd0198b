"""The results of an experiment as plain numbers with intervals over seeds: its `summary.json`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import (
    METRICS,
    chosen_gain,
    interquartile_mean,
    negative_transfer_rate,
    paired_difference,
    probability_of_improvement,
    rank_correlation,
    selection_regret,
    summarise_seeds,
    summarise_values,
)
from slicing_rllib.studies.results import (
    Results,
    compute_baseline_gains,
    compute_cell_gains,
    compute_costs,
    compute_gains,
    compute_learning_service,
    compute_pair_gains,
    read_ceiling_gain,
)
from slicing_rllib.studies.study_configs import ExperimentConfig

INTERVALS = "Student's t"
"""How intervals over seeds are computed, as a report names it."""
FINAL_SHARE = 0.95
"""Share of what training from scratch gains that an arm must reach."""
LOST_SPANS = (1000, 4000)
"""First so many steps of a cell in which failures are counted. Whole periods of the traffic."""


def summarise(results: Results) -> dict[str, Any]:
    """The content of an experiment's `summary.json`."""
    experiment = results.experiment

    def by_arm(found: Mapping[str, Any]) -> dict[str, Any]:
        return {arm: found.get(arm, {}) for arm in experiment.arms}

    # What was trained, whatever the number of seeds and the way it is shown.
    arms = {"__all__": {"kind", "from_scratch"}}
    presentation = {"shows": True, "table_steps": True, "arms": arms}
    plain = experiment.model_dump(mode="json", exclude=presentation) | {"seeds": 0}
    summary: dict[str, Any] = {
        "experiment": experiment.name,
        "seeds": len(results.seeds),
        "intervals": INTERVALS,
        "experiment_sha256": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest(),
        "policies": summarise_policies(experiment, results.final),
    }
    ceiling_gain = read_ceiling_gain() if experiment.is_on_papers_network else None
    if ceiling_gain is not None:
        summary["learnable_gap"] = summarise_learnable_gap(summary["policies"], ceiling_gain)
    gains = compute_baseline_gains(results)
    summary["baseline_gains"] = by_arm(summarise_table(gains, ["arm", "step", "metric"]))
    service = compute_learning_service(results)
    summary["while_learning"] = by_arm(summarise_table(service, ["arm", "span", "metric"]))
    summary["steps_saved"] = summarise_steps_saved(results)
    if experiment.reference is not None:
        summary["gains"] = by_arm(_summarise_gains(results))
        del summary["gains"][experiment.reference]
    if len(experiment.rotations) > 1:
        rated = rank_measures(compute_pair_gains(results), results.pair_distances)
        table = rated.melt(["seed", "step", "measure"], var_name="metric")
        summary["measures"] = summarise_table(table, ["step", "measure", "metric"])
    if len(results.group_aucs):
        summary["auc"] = summarise_table(results.group_aucs, ["measure"])
    if experiment.foreign:
        summary["costs"] = by_arm(summarise_table(compute_costs(results), ["arm", "metric"]))
    if len(results.transfers):
        harmful = results.transfers.groupby("arm")["harmful"]
        summary["alarms"] = {
            str(arm): {"warm_starts": int(each.size), "rolled_back": int(each.sum())}
            for arm, each in harmful
        }
    return summary


def summarise_table(table: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """`value` over seeds as mean and interval, in dictionaries nested by the columns `keys`."""
    found: dict[str, Any] = {}
    for names, values in table.groupby(list(keys), sort=False)["value"]:
        *sections, last = map(str, names)
        section = found
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = summarise_values(values.to_numpy(float))
    return found


def summarise_policies(experiment: ExperimentConfig, final: pd.DataFrame) -> dict[str, Any]:
    """By policy, its metrics and its differences from the reference and the baseline.

    `final` is that of `Results`.
    """
    tables = {
        str(policy): rows.sort_values("seed")[list(METRICS)].to_numpy()
        for policy, rows in final.groupby("policy", sort=False)
    }
    known = [n for n in dict.fromkeys([experiment.reference, "traffic_aware"]) if n in tables]
    found = {}
    for policy, row in summarise_seeds(tables).items():
        columns = dict(zip(METRICS, tables[policy].T, strict=True))
        others = {other: tables[other] for other in known if other != policy}
        found[policy] = row | {
            "iqm": {metric: float(interquartile_mean(c)) for metric, c in columns.items()},
            "less": {
                other: {
                    metric: _compare_seeds(columns[metric], theirs[:, i])
                    for i, metric in enumerate(METRICS)
                }
                for other, theirs in others.items()
            },
        }
    return found


def _compare_seeds(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    mean, interval = paired_difference(ours, theirs)
    share_above = probability_of_improvement(ours, theirs)
    return {"mean": mean, "ci95": interval, "share_of_seeds_above": share_above}


def summarise_learnable_gap(policies: Mapping[str, Any], ceiling_gain: float) -> dict[str, Any]:
    """By policy, the share of the way from traffic-aware to the ceiling, in mean reward.

    The interval is that of the policy's paired gain; the ceiling's gain counts as known.
    """
    closed = {}
    for name, row in policies.items():
        gain = row["less"].get("traffic_aware", {}).get("reward_mean")
        if gain is not None:
            interval = gain["ci95"]
            closed[name] = {
                "mean": gain["mean"] / ceiling_gain,
                "ci95": None if interval is None else [end / ceiling_gain for end in interval],
            }
    return {"ceiling_gain": ceiling_gain, "closed": closed}


def summarise_steps_saved(results: Results) -> dict[str, Any]:
    """By arm: steps until two levels of reward are reached, and steps lost below the SLA.

    Steps are counted from a cell's first one, so those under the default action, in which a source
    is chosen, count too. `baseline` is the level of the traffic-aware baseline. `final` is what the
    arm from scratch has at its first evaluation, plus 95 % of what it gains from there to its last.
    """
    curves = results.network_curves.reset_index().sort_values("step", kind="stable")
    own = curves.groupby(["arm", "seed"])["evaluated"]
    final = own.first() + FINAL_SHARE * (own.last() - own.first())
    from_scratch = [find_from_scratch_arm(results.experiment, arm) for arm in curves["arm"]]
    levels = {
        "baseline": curves["baseline"].to_numpy(),
        "final": final.reindex(list(zip(from_scratch, curves["seed"], strict=True))).to_numpy(),
    }
    since_first = curves["step"] + curves["default_steps"]
    lost = {span: _count_lost_steps(results, curves, span) for span in LOST_SPANS}
    found: dict[str, dict[str, Any]] = {arm: {} for arm in results.experiment.arms}
    for name, level in levels.items():
        steps = since_first.where(curves["evaluated"].to_numpy() >= level)
        by_seed = steps.groupby([curves["arm"], curves["seed"]]).min()
        for arm, row in found.items():
            row[name] = _summarise_steps(by_seed.loc[arm].to_numpy(float))
    for arm, row in found.items():
        row["lost"] = {str(span): each.get(arm) for span, each in lost.items()}
    return found


def find_from_scratch_arm(experiment: ExperimentConfig, arm: str) -> str:
    """The arm that trains the same kind of policy from scratch: the arm itself, if it does."""
    settings = experiment.arms[arm]
    if settings.learns_from is None:
        return arm
    if settings.from_scratch is not None:
        return settings.from_scratch
    if settings.learns_from in experiment.arms:
        return find_from_scratch_arm(experiment, settings.learns_from)
    return experiment.reference or experiment.first


def _summarise_steps(steps: np.ndarray) -> dict[str, Any]:
    """The median over seeds, None where fewer than half of them reach the level (NaN: not)."""
    median = float(np.median(np.nan_to_num(steps, nan=np.inf)))
    return {
        "median": median if np.isfinite(median) else None,
        "seeds": len(steps),
        "reached": int(np.isfinite(steps).sum()),
        "steps": [float(step) if np.isfinite(step) else None for step in steps],
    }


def _count_lost_steps(results: Results, curves: pd.DataFrame, span: int) -> dict[str, Any]:
    """By arm, steps per cell below 0.95 among a cell's first ones, beyond those of the baseline.

    Arms that were trained for fewer steps are left out.
    """
    found = {}
    for arm, rows in results.learning.groupby("arm"):
        since_first = rows["step"] + rows["default_steps"]
        inside = rows[since_first <= span].groupby("seed")["fail_rate_95"].mean()
        own = results.curves[results.curves["arm"] == arm]
        lost = span * (inside - own.groupby("seed")["baseline_fail_rate_95"].mean())
        if since_first.max() >= span and np.isfinite(lost).all():
            found[arm] = summarise_values(lost.to_numpy())
    return found


def _summarise_gains(results: Results) -> dict[str, Any]:
    """By arm and own step, gains over the reference, and the share of cells that lose."""
    found = summarise_table(compute_gains(results), ["arm", "step", "metric"])
    cells = compute_cell_gains(results)
    for (arm, step), gains in cells.groupby(["arm", "step"])["gain"]:
        found[str(arm)][str(step)]["negative"] = float((gains < 0).mean())
    return found


def rank_measures(pairs: pd.DataFrame, distances: pd.DataFrame) -> pd.DataFrame:
    """How well each measure chooses: a row per seed, step and measure.

    Columns: `spearman`, the correlation of nearness with gain; `regret`, what the best source would
    have gained more than the chosen one; `gain`; `over_random`, what a random source gains less on
    average; `negative`, the share of targets with a gain below 0. Three controls stand beside the
    measures: `random` takes any source, `worst` the farthest by mean_shift, and `best` the one with
    the largest gain.
    """
    joined = distances.merge(pairs, on=["seed", "target", "source"])
    shift = joined[joined["measure"] == "mean_shift"]
    controls = {"worst": -shift["distance"], "random": 0.0, "best": -shift["gain"]}
    joined = pd.concat(
        [joined, *(shift.assign(measure=name, distance=d) for name, d in controls.items())]
    )
    return pd.DataFrame(
        {"seed": seed, "step": step, "measure": measure}
        | _rate_choices([target for _, target in rows.groupby("target")])
        for (step, measure, seed), rows in joined.groupby(["step", "measure", "seed"])
    )


def _rate_choices(targets: Sequence[pd.DataFrame]) -> dict[str, float]:
    """Means over targets; the correlation over those where it is defined."""
    pairs = [(rows["distance"].to_numpy(), rows["gain"].to_numpy()) for rows in targets]
    correlations = np.array([rank_correlation(d, g) for d, g in pairs])
    known = correlations[np.isfinite(correlations)]
    chosen = np.array([chosen_gain(d, g) for d, g in pairs])
    return {
        "spearman": float(known.mean()) if len(known) else float("nan"),
        "regret": float(np.mean([selection_regret(d, g) for d, g in pairs])),
        "gain": float(chosen.mean()),
        "over_random": float(chosen.mean() - np.mean([g.mean() for _, g in pairs])),
        "negative": negative_transfer_rate(chosen),
    }
