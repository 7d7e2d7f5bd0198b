"""Did a measure foretell which source helps? Every (source, target) pair that was tried."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import group_auc
from slicing_rllib.evaluation.transfer_statistics import (
    chosen_gain,
    negative_transfer_rate,
    rank_correlation,
    selection_regret,
)
from slicing_rllib.service.experiments.config import ExperimentConfig
from slicing_rllib.service.experiments.results import Results, gains, read_results
from slicing_rllib.service.experiments.runner import arm_folder
from slicing_rllib.service.runs.cell_similarity import samples_of_run, sla_groups
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import MEASURES
from slicing_rllib.transfer.decision import CellSamples, distances_by_measure

FEWEST_SOURCES = 4
"""Tried per target, below which nothing can be said."""


def rotations(results: Results) -> list[str]:
    """Arms in which every cell learns from the k-th after it."""
    return [
        name
        for name, arm in results.experiment.arms.items()
        if any("transfer.source=next:" in setting for setting in arm.set)
        and arm.learns_from in results.experiment.arms
    ]


def compares_measures(experiment: ExperimentConfig) -> bool:
    settings = [setting for arm in experiment.arms.values() for setting in arm.set]
    return any(setting.startswith("transfer.measure=") for setting in settings)


def source_choices(results: Results) -> list[str]:
    """Arms that differ in whom cells learn from: all rotations, or one choice by each measure."""
    if not compares_measures(results.experiment):
        return rotations(results)
    arms, reference = results.experiment.arms, results.experiment.reference
    return [name for name, arm in arms.items() if reference and arm.learns_from == reference]


def pair_gains(results: Results, step: int) -> pd.DataFrame:
    """seed, target, source, gain over the reference at that own step; each pair once."""
    told = results.transfers[["seed", "arm", "target", "source"]]
    frames = [gains(results, arm, step).assign(arm=arm) for arm in source_choices(results)]
    joined = pd.concat(frames).rename(columns={"cell": "target"})
    pairs = joined.merge(told, on=["seed", "arm", "target"])
    return pairs.groupby(["seed", "target", "source"], as_index=False, sort=False)["gain"].mean()


@cache
def pair_distances(folder: Path) -> pd.DataFrame:
    """seed, target, source, measure, distance: of the samples that decisions were made from."""
    results = read_results(folder)
    arms = source_choices(results)
    source_arm = str(results.experiment.arms[arms[0]].learns_from)
    rows = []
    for seed in sorted(results.final["seed"].unique().tolist()):
        sources = _samples(arm_folder(folder, seed, source_arm))
        targets = _samples(arm_folder(folder, seed, arms[0]))
        cells = {f"source/{c}": s for c, s in sources.items()}
        cells |= {f"target/{c}": s for c, s in targets.items()}
        vae = results.experiment.arm_config(source_arm, seed, None).transfer.vae
        by_measure = distances_by_measure(cells, list(MEASURES), vae, seed)
        for measure, found in by_measure.items():
            matrix = found.mean[: len(sources), len(sources) :]
            for (i, k), distance in np.ndenumerate(matrix):
                if i != k:
                    pair = {"source": list(sources)[i], "target": list(targets)[k]}
                    rows.append({"seed": seed, **pair, "measure": measure, "distance": distance})
    return pd.DataFrame(rows)


def group_aucs(results: Results, folder: Path) -> pd.DataFrame:
    """seed, measure, auc: do cells with the same promises look nearer than others do?

    Of what the first arm's cells saw under the default action. Empty where all promise the same.
    """
    first, rows = results.experiment.first, []
    for seed in sorted(results.final["seed"].unique().tolist()):
        config = results.experiment.arm_config(first, seed, None)
        groups = sla_groups(config)
        if len(set(groups)) < 2:
            continue
        cells = _samples(arm_folder(folder, seed, first))
        by_measure = distances_by_measure(cells, list(MEASURES), config.transfer.vae, seed)
        rows += [
            {"seed": seed, "measure": measure, "auc": group_auc(found.mean, groups)}
            for measure, found in by_measure.items()
        ]
    return pd.DataFrame(rows, columns=["seed", "measure", "auc"])


def measure_table(pairs: pd.DataFrame, distances: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Per seed and measure: correlation, regret and gain of its choice, over all targets.

    `random` takes any source, `worst` the farthest by mean_shift, `best` knows the outcome.
    """
    rows = []
    joined = distances.merge(pairs, on=["seed", "target", "source"])
    for (number, measure), mine in joined.groupby(["seed", "measure"]):
        each = [(g["distance"].to_numpy(), g["gain"].to_numpy()) for _, g in mine.groupby("target")]
        rows.append({"seed": number, "measure": measure} | _judged(each))
        if measure == "mean_shift":
            controls = {
                "worst": [(-d, g) for d, g in each],
                "random": [(np.zeros_like(d), g) for d, g in each],
                "best": [(-g, g) for _, g in each],
            }
            rows += [{"seed": number, "measure": n} | _judged(c) for n, c in controls.items()]
    return pd.DataFrame(rows)


def _judged(each: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    correlations = np.array([rank_correlation(d, g) for d, g in each])
    known = correlations[np.isfinite(correlations)]
    chosen = np.array([chosen_gain(d, g) for d, g in each])
    return {
        "spearman": float(known.mean()) if len(known) else float("nan"),
        "regret": float(np.mean([selection_regret(d, g) for d, g in each])),
        "gain": float(chosen.mean()),
        "negative": negative_transfer_rate(chosen),
    }


def _samples(folder: Path) -> dict[str, CellSamples]:
    run = RunDirectory.open(folder)
    return samples_of_run(run, run.config())
