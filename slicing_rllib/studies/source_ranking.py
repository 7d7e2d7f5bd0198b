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
from slicing_rllib.studies.results import Results, compute_gains, read_results
from slicing_rllib.transfer import MEASURES
from slicing_rllib.transfer.decision import CellSamples, compute_distances_by_measure

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false


DistancesAndGains = tuple[np.ndarray, np.ndarray]
"""Distances and gains of all sources of one target."""


def list_source_choices(experiment: ExperimentConfig) -> list[str]:
    """Arms that differ in their sources: all rotations, or one arm per measure."""
    if not experiment.compares_measures:
        return experiment.rotations
    arms, reference = experiment.arms, experiment.reference
    return [name for name, arm in arms.items() if reference and arm.learns_from == reference]


def compute_pair_gains(results: Results, step: int) -> pd.DataFrame:
    """Columns seed, target, source, gain over the reference after that own step; each pair once."""
    sources = results.transfers[["seed", "arm", "target", "source"]]
    choices = list_source_choices(results.experiment)
    frames = [compute_gains(results, arm, step).assign(arm=arm) for arm in choices]
    joined = pd.concat(frames).rename(columns={"cell": "target"})
    pairs = joined.merge(sources, on=["seed", "arm", "target"])
    return pairs.groupby(["seed", "target", "source"], as_index=False, sort=False)["gain"].mean()


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
                    pair = {"source": list(sources)[i], "target": list(targets)[k]}
                    rows.append({"seed": seed, **pair, "measure": measure, "distance": distance})
    return pd.DataFrame(rows)


def compute_group_aucs(results: Results, folder: Path) -> pd.DataFrame:
    """Columns seed, measure, auc: whether cells with the same SLA are nearer than other cells.

    From the samples of the first arm. Empty where all cells have the same SLA.
    """
    first, rows = results.experiment.first, []
    for seed in results.seeds:
        config = results.experiment.make_arm_config(first, seed, None)
        groups = list_sla_groups(config)
        if len(set(groups)) < 2:
            continue
        cells = _read_samples(get_arm_folder(folder, seed, first))
        by_measure = compute_distances_by_measure(cells, list(MEASURES), config.transfer.vae, seed)
        rows += [
            {"seed": seed, "measure": measure, "auc": group_auc(found.mean, groups)}
            for measure, found in by_measure.items()
        ]
    return pd.DataFrame(rows, columns=["seed", "measure", "auc"])


def rank_measures(pairs: pd.DataFrame, distances: pd.DataFrame) -> pd.DataFrame:
    """Columns seed, measure, spearman, regret, gain, over_random, negative: how well it chooses.

    `regret` is what the best source would have gained more than the chosen one, `over_random` what
    a random source gains less on average, `negative` the share of targets with a gain below 0.
    Three controls stand beside the measures: `random` takes any source, `worst` the farthest by
    mean_shift, and `best` the one with the largest gain.
    """
    rows = []
    joined = distances.merge(pairs, on=["seed", "target", "source"])
    for (seed, measure), group in joined.groupby(["seed", "measure"]):
        targets = [
            (target["distance"].to_numpy(), target["gain"].to_numpy())
            for _, target in group.groupby("target")
        ]
        rows.append({"seed": seed, "measure": measure} | _rate_choices(targets))
        if measure == "mean_shift":
            controls = {
                "worst": [(-d, g) for d, g in targets],
                "random": [(np.zeros_like(d), g) for d, g in targets],
                "best": [(-g, g) for _, g in targets],
            }
            rows += [{"seed": seed, "measure": n} | _rate_choices(c) for n, c in controls.items()]
    return pd.DataFrame(rows)


def _rate_choices(targets: Sequence[DistancesAndGains]) -> dict[str, float]:
    """Means over targets; the correlation over those where it is defined."""
    correlations = np.array([rank_correlation(d, g) for d, g in targets])
    known = correlations[np.isfinite(correlations)]
    chosen = np.array([chosen_gain(d, g) for d, g in targets])
    return {
        "spearman": float(known.mean()) if len(known) else float("nan"),
        "regret": float(np.mean([selection_regret(d, g) for d, g in targets])),
        "gain": float(chosen.mean()),
        "over_random": float(chosen.mean() - np.mean([g.mean() for _, g in targets])),
        "negative": negative_transfer_rate(chosen),
    }


def _read_samples(folder: Path) -> dict[str, CellSamples]:
    run = RunDirectory.open(folder)
    return read_cell_samples(run, run.config())
