"""A run's policies from measured KPIs to shares, and the KPIs that its network measures."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from slicing_rllib.env import DecisionView, Policy, SlicingEnv
from slicing_rllib.policies import (
    REQUIRED_KPIS,
    CellPolicy,
    KpiRange,
    make_encoders,
    select_actor,
)
from slicing_rllib.radio import StepKpis
from slicing_rllib.service.config import RunConfig, dump_resolved_yaml
from slicing_rllib.service.runs.evaluation import (
    Weights,
    derive_evaluation_seeds,
    make_network,
    make_trained_policy,
)
from slicing_rllib.transfer.policy_library import identify_cell

RECORDED_STEPS = 250


def make_cell_policies(
    config: RunConfig, weights: Weights, recorded: Sequence[StepKpis]
) -> dict[str, CellPolicy]:
    """The policy of each cell that has weights.

    Args:
        config: the run.
        weights: by cell and parameter name.
        recorded: KPIs of the run's network, for the ranges in which policies have been tried.

    Raises: PolicyError for weights that are not finite or do not fit the run's observations.
    """
    encoders = make_encoders(config.scenario, config.env.observation, config.env.message)
    kpis = REQUIRED_KPIS[config.env.observation]
    ranges = _find_ranges(kpis, recorded) if recorded else [{}] * len(encoders)
    origins = _describe_origins(config)
    return {
        cell: CellPolicy(
            encoder=encoders[cell],
            form=config.actor_form,
            weights=select_actor(weights[cell]),
            name=f"{config.name}-{cell}",
            recorded=ranges[row],
            provenance=origins[cell],
        )
        for row, cell in enumerate(config.scenario.cells)
        if cell in weights
    }


def _describe_origins(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Where the policy of each cell comes from."""
    run = {
        "run": config.name,
        "seed": config.seed,
        "config_sha256": hashlib.sha256(dump_resolved_yaml(config).encode()).hexdigest(),
        "slicing_rllib": version("slicing-rllib"),
    }
    name, map_seed = config.scenario.name, config.env.map_seed
    return {
        cell: run | {"cell": cell, "network": identify_cell(name, map_seed, cell)}
        for cell in config.scenario.cells
    }


def record_kpis(config: RunConfig, weights: Weights, steps: int = RECORDED_STEPS) -> list[StepKpis]:
    """KPIs of the run's network under its own policies, on its first evaluation seed."""
    env = make_network(config)
    policy = make_trained_policy(config, weights)
    return [env.kpis for _ in follow(env, policy, steps, derive_evaluation_seeds(config)[0])]


def follow(env: SlicingEnv, policy: Policy, steps: int, seed: int):
    """Yields after the reset and after each of `steps` network steps with a policy."""
    columns = env.reset_columns(seed)
    yield
    for _ in range(steps):
        view = DecisionView(columns.obs, env.kpis, env.simulator)
        columns = env.step_columns(policy.prb_ratio(view).astype(np.float32))
        yield
        if columns.truncated.all():
            columns = env.reset_columns()


def _find_ranges(
    names: Sequence[str], recorded: Sequence[StepKpis]
) -> list[dict[str, tuple[KpiRange, ...]]]:
    """For each cell, the range of each KPI."""
    ranges: list[dict[str, tuple[KpiRange, ...]]] = [{} for _ in recorded[0].phase]
    for name in names:
        values = np.stack([getattr(step, name) for step in recorded])
        low, high = values.min(axis=(0, 1)).tolist(), values.max(axis=(0, 1)).tolist()
        means, stds = values.mean(axis=0).tolist(), values.std(axis=0).tolist()
        for row, (mean, std) in enumerate(zip(means, stds, strict=True)):
            ranges[row][name] = tuple(map(KpiRange, low, high, mean, std))
    return ranges
