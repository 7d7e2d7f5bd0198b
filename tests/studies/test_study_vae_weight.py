"""The weight alpha of eq. (6): what it does to reconstruction, to posteriors, and to the choice.

A small weight lets posteriors shrink until their variance reaches the limit of the encoder, and
eq. (7), which divides by variances, then depends on a few samples. A large weight makes the latent
space forget its input. The default is chosen by reconstruction and stability, never by what a
transfer gains.

The README of `transfer` has the results of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 -m slow tests/studies/test_study_vae_weight.py`.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.benchmarks.rows import Row, make_row
from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation.statistics import group_auc, mean_interval
from slicing_rllib.radio import Scenario, make_scenario
from slicing_rllib.transfer.decision import CellSamples, compute_distances_by_measure
from slicing_rllib.transfer.transfer_settings import VaeSettings
from slicing_rllib.transfer.vae import LOG_VARIANCE_LIMITS, train_vae

WEIGHTS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
MEASURES = ("kl_paper", "lemma1", "mean_shift")
LIMIT_TOLERANCE = 1e-3
"""A log variance this close to the encoder's lower limit counts as being at it."""
LARGEST_SAMPLES = 0.01
"""Share of a cell's samples whose part of the inverse variances is reported."""


def run(
    scenario: Scenario,
    settings: VaeSettings,
    weights: Sequence[float],
    *,
    networks: int,
    vae_seeds: int,
    samples: int,
) -> Iterator[Row]:
    """Yields, for each weight, means over networks with 95 % t intervals in `low` and `high`.

    Rows: error of the reconstruction; share of the posteriors' variances at the encoder's limit;
    share of the inverse variances that the largest 1 % of samples hold; and by measure the AUC of
    SLA groups and how often two VAE seeds choose the same source for a target.

    Args:
        scenario: Network whose cells are compared.
        settings: Of the VAE, but for its weight.
        weights: Weights to compare.
        networks: Radio maps and traffic seeds 0, 1, ... that intervals are over.
        vae_seeds: Seeds of the VAE on the same samples, at least 2.
        samples: Steps under the default action that every cell contributes.
    """
    groups = [name for site in scenario.sites for name in site.sla_groups]
    populations = [_collect_samples(scenario, seed, samples) for seed in range(networks)]
    for weight in weights:
        own = replace(settings, kl_weight=weight, members=1)
        found = [_describe(cells, own, vae_seeds, groups) for cells in populations]
        for name in found[0]:
            values = np.array([row[name] for row in found])
            interval = mean_interval(values) or (math.nan, math.nan)
            yield make_row(
                f"vae.{name}",
                float(values.mean()),
                "1",
                ratio=math.nan,
                alpha=weight,
                low=interval[0],
                high=interval[1],
            )


def _collect_samples(scenario: Scenario, seed: int, steps: int) -> dict[str, CellSamples]:
    """[s, r] of every cell under equal shares."""
    env = SlicingEnv(scenario, map_seed=seed)
    batched = env.reset_batched(seed)
    equal = np.full((len(env.cells), env.action_size), 1.0 / env.action_size, np.float32)
    rows = []
    for _ in range(steps):
        before, batched = batched, env.step_batched(equal)
        rows.append(np.concatenate([before.obs, batched.reward[:, None]], axis=1))
    joint = np.stack(rows, axis=1).astype(np.float64)
    slas = np.concatenate([scenario.sla_throughput_mbps, scenario.sla_delay_ms], axis=1)
    return {
        cell: CellSamples(samples, sla)
        for cell, samples, sla in zip(env.cells, joint, slas, strict=True)
    }


def _describe(
    cells: Mapping[str, CellSamples], settings: VaeSettings, vae_seeds: int, groups: Sequence[str]
) -> dict[str, float]:
    """What one network's samples show under one weight, as means over VAE seeds."""
    pooled = np.concatenate([cell.joint for cell in cells.values()])
    posteriors = [train_vae(pooled, settings, seed) for seed in range(vae_seeds)]
    variances = [vae.posterior(pooled).variance[0] for vae in posteriors]
    found = {
        "reconstruction_error": float(
            np.mean([vae.reconstruction_error(pooled) for vae in posteriors])
        ),
        "variances_at_limit": float(np.mean([_share_at_limit(v) for v in variances])),
        "largest_samples": float(np.mean([_share_of_largest(v) for v in variances])),
    }
    distances = [
        compute_distances_by_measure(cells, MEASURES, settings, seed) for seed in range(vae_seeds)
    ]
    for measure in MEASURES:
        matrices = [by_measure[measure].mean for by_measure in distances]
        found[f"{measure}.auc"] = float(np.mean([group_auc(m, groups) for m in matrices]))
        found[f"{measure}.same_choice"] = _compare_choices(matrices)
    return found


def _share_at_limit(variance: np.ndarray) -> float:
    return float((np.log(variance) < LOG_VARIANCE_LIMITS[0] + LIMIT_TOLERANCE).mean())


def _share_of_largest(variance: np.ndarray) -> float:
    """Part of the sum of inverse variances that its largest entries hold."""
    inverse = np.sort((1.0 / variance).sum(axis=1))[::-1]
    return float(inverse[: max(1, round(LARGEST_SAMPLES * len(inverse)))].sum() / inverse.sum())


def _compare_choices(matrices: Sequence[np.ndarray]) -> float:
    """Share of (pair of VAE seeds, target) in which both seeds choose the same source."""
    choices = []
    for matrix in matrices:
        apart = matrix.copy()
        np.fill_diagonal(apart, np.inf)
        choices.append(apart.argmin(axis=0))
    return float(np.mean([a == b for a, b in itertools.combinations(choices, 2)]))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_large_weight_reconstructs_worse_and_leaves_the_limit(is_full_study, show_rows):
    scenario, settings = make_scenario("mixed"), VaeSettings()
    if is_full_study:
        rows = list(run(scenario, settings, WEIGHTS, networks=10, vae_seeds=3, samples=500))
    else:
        few = replace(settings, updates=150)
        rows = list(run(scenario, few, WEIGHTS[::6], networks=2, vae_seeds=2, samples=60))
    show_rows(rows)
    found = {(row["name"], row["alpha"]): row["value"] for row in rows}

    error, largest = "vae.reconstruction_error", "vae.largest_samples"
    assert found[error, 1e-3] < found[error, 1.0]
    assert found[largest, 1e-3] > found[largest, 1.0]
    assert 0.0 <= found["vae.kl_paper.same_choice", 1e-3] <= 1.0


def test_the_largest_of_a_hundred_equal_samples_hold_a_hundredth():
    assert np.isclose(_share_of_largest(np.ones((100, 4))), 0.01)


def test_choices_agree_where_the_nearest_source_is_the_same():
    one = np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 2.0], [4.0, 3.0, 0.0]])
    other = one.copy()
    other[:, 2] = [1.0, 9.0, 0.0]

    assert _compare_choices([one, one]) == 1.0
    assert np.isclose(_compare_choices([one, other]), 2 / 3)
