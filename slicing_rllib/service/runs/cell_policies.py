"""A run's policies from measured KPIs to shares, and the KPIs that its network measures."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from slicing_rllib.env import DecisionView, Policy, SlicingEnv
from slicing_rllib.policies import CellEncoder, CellPolicy, KpiRange, make_encoders, select_actor
from slicing_rllib.policies.cell_encoder import stack_columns
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
    return {
        cell: CellPolicy(
            encoder=encoders[cell],
            form=config.actor_form,
            weights=select_actor(weights[cell]),
            name=f"{config.name}-{cell}",
            recorded=_find_ranges(encoders[cell], recorded, row) if recorded else {},
            provenance=make_provenance(config, cell),
        )
        for row, cell in enumerate(config.scenario.cells)
        if cell in weights
    }


def make_provenance(config: RunConfig, cell: str) -> dict[str, Any]:
    """Where the policy of a cell comes from."""
    return {
        "run": config.name,
        "cell": cell,
        "network": identify_cell(config.scenario.name, config.env.map_seed, cell),
        "seed": config.seed,
        "config_sha256": hashlib.sha256(dump_resolved_yaml(config).encode()).hexdigest(),
        "slicing_rllib": version("slicing-rllib"),
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
    encoder: CellEncoder, recorded: Sequence[StepKpis], row: int
) -> Mapping[str, tuple[KpiRange, ...]]:
    own = stack_columns(recorded, row, encoder.required_kpis)
    ranges: dict[str, tuple[KpiRange, ...]] = {}
    for name, column in own.items():
        everywhere = np.stack([getattr(step, name) for step in recorded])
        low, high = everywhere.min(axis=(0, 1)), everywhere.max(axis=(0, 1))
        numbers = zip(low, high, column.mean(axis=0), column.std(axis=0), strict=True)
        ranges[name] = tuple(KpiRange(*map(float, values)) for values in numbers)
    return ranges
