"""Whether a measure predicts which source helps, from all (source, target) pairs tried."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import (
    chosen_gain,
    group_auc,
    negative_transfer_rate,
    rank_correlation,
    selection_regret,
)
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_report import list_sla_groups, read_cell_samples
from slicing_rllib.studies.experiment import get_arm_folder
from slicing_rllib.studies.experiment_config import ExperimentConfig
from slicing_rllib.studies.results import Results, compute_cell_gains, read_results
from slicing_rllib.transfer import MEASURES
from slicing_rllib.transfer.decision import CellSamples, compute_distances_by_measure

# pandas' own annotations are wider than what it returns.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportReturnType=false


def list_source_choices(experiment: ExperimentConfig) -> list[str]:
    """Arms that differ in their sources: all rotations, or one arm per measure."""
    if not experiment.compares_measures:
        return experiment.rotations
    arms, reference = experiment.arms, experiment.reference
    return [name for name, arm in arms.items() if reference and arm.learns_from == reference]


def compute_pair_gains(results: Results) -> pd.DataFrame:
    """Columns step, seed, target, source, gain over the reference after that own step.

    Each pair counts once, with the mean over the arms that tried it.
    """
    gains = compute_cell_gains(results).rename(columns={"cell": "target"})
    gains = gains[gains["arm"].isin(list_source_choices(results.experiment))]
    gains = gains.sort_values("step", kind="stable")
    sources = results.transfers[["seed", "arm", "target", "source"]]
    pairs = gains.merge(sources, on=["seed", "arm", "target"])
    keys = ["step", "seed", "target", "source"]
    return pairs.groupby(keys, as_index=False, sort=False)["gain"].mean()


@cache
def compute_pair_distances(folder: Path) -> pd.DataFrame:
    """Columns seed, target, source, measure, distance, from the samples that decisions used."""
    results = read_results(folder)
    arms = list_source_choices(results.experiment)
    source_arm = str(results.experiment.arms[arms[0]].learns_from)
    rows = []
    for seed in results.seeds:
        sources = _read_samples(get_arm_folder(folder, seed, source_arm))
        targets = _read_samples(get_arm_folder(folder, seed, arms[0]))
        cells = {f"source/{c}": s for c, s in sources.items()}
        cells |= {f"target/{c}": s for c, s in targets.items()}
        vae = results.experiment.make_arm_config(source_arm, seed, None).transfer.vae
        by_measure = compute_distances_by_measure(cells, list(MEASURES), vae, seed)
        for measure, found in by_measure.items():
            matrix = found.mean[: len(sources), len(sources) :]
            for (i, k), distance in np.ndenumerate(matrix):
                if i != k:
                    rows.append((seed, list(targets)[k], list(sources)[i], measure, distance))
    return pd.DataFrame(rows, columns=["seed", "target", "source", "measure", "distance"])


def compute_group_aucs(results: Results, folder: Path) -> pd.DataFrame:
    """Columns seed, measure, value: the AUC with which cells of the same SLA are nearer.

    From the samples of the first arm. Empty where all cells have the same SLA.
    """
    first, rows = results.experiment.first, []
    for seed in results.seeds:
        config = results.experiment.make_arm_config(first, seed, None)
        groups = list_sla_groups(config)
        if len(set(groups)) > 1:
            cells = _read_samples(get_arm_folder(folder, seed, first))
            vae = config.transfer.vae
            by_measure = compute_distances_by_measure(cells, list(MEASURES), vae, seed)
            rows += [(seed, name, group_auc(d.mean, groups)) for name, d in by_measure.items()]
    return pd.DataFrame(rows, columns=["seed", "measure", "value"])


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


def _read_samples(folder: Path) -> dict[str, CellSamples]:
    run = RunDirectory.open(folder)
    return read_cell_samples(run, run.config())
