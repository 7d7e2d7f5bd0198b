"""Policies of a run and baselines on the same unseen traffic."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines import make_policy
from slicing_rllib.env import Policy, SlicingEnv
from slicing_rllib.evaluation import Rollout, rollout, summarise
from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.service.config import RunConfig, load_config
from slicing_rllib.service.runs.no_transfer_branch import forks, scratch_run
from slicing_rllib.service.runs.run_directory import RunDirectory

TRAINED = ("drl", "tl")
"""Policies that a run has learned; all others are baselines."""
KEPT = ("reward", "satisfaction", "delay_max_ms", "live")
"""Columns of a rollout that figures are drawn from."""

Rollouts = dict[str, list[Rollout]]
Weights = Mapping[str, Mapping[str, np.ndarray]]
Trained = Mapping[str, Weights]
"""By the name of the policy."""

_SPAWN_EVALUATION = 1_000_003
_SPAWN_FITTING = 1_000_004


def evaluation_seeds(config: RunConfig) -> list[int]:
    """Seeds of traffic that no training of this config sees."""
    seed = config.seed if config.evaluation.seed is None else config.evaluation.seed
    return [
        int(np.random.SeedSequence(seed, spawn_key=(_SPAWN_EVALUATION, i)).generate_state(1)[0])
        for i in range(config.evaluation.seeds)
    ]


def network_of(config: RunConfig) -> SlicingEnv:
    """The run's network with all its cells deployed."""
    return SlicingEnv(
        config.scenario,
        message=config.env.message,
        episode_steps=config.env.episode_steps,
        map_seed=config.env.map_seed,
    )


def named_policy(name: str, config: RunConfig, trained: Trained) -> Policy:
    """A baseline, or trained policies. Raises: ValueError where those are wanted and absent."""
    if name in TRAINED:
        if name not in trained:
            raise ValueError(f"policy {name}: expected a run that has it")
        return TrainedPolicy(config.scenario.cells, trained[name])
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(_SPAWN_FITTING,)))
    return make_policy(name, config.scenario, rng, map_seed=config.env.map_seed)


def trained_policies(config: RunConfig, run: RunDirectory) -> dict[str, Weights]:
    """The run's own, and those of its fork without transfer. Raises: RunError for none."""
    found: dict[str, Weights] = {config.own_policy: run.policies()}
    if forks(config):
        found["drl"] = scratch_run(run).policies()
    return found


def mean_reward(config: RunConfig, policy: Policy, seeds: int | None = None) -> float:
    """Of the first so many evaluation seeds, or of all."""
    return float(cell_rewards(config, policy, seeds).mean())


def cell_rewards(
    config: RunConfig, policy: Policy, seeds: int | None = None
) -> Float[np.ndarray, " cell"]:
    """Each cell's mean reward over the first so many evaluation seeds, or all."""
    env = network_of(config)
    runs = [
        rollout(env, policy, config.evaluation.steps, seed)
        for seed in evaluation_seeds(config)[:seeds]
    ]
    return np.mean([run.reward.mean(axis=0) for run in runs], axis=0)


def evaluate_policies(
    config: RunConfig,
    trained: Trained,
    names: Sequence[str],
    advance: Callable[[str], None] = lambda name: None,
) -> Rollouts:
    """Every policy on every evaluation seed; `advance` hears of each rollout."""
    return {
        name: list(_runs(config, named_policy(name, config, trained), name, advance))
        for name in names
    }


def evaluate_run(
    run: RunDirectory,
    *,
    policies: Sequence[str] | None,
    steps: int | None,
    seeds: int | None,
    traffic: Path | None,
    heard: Callable[[str, int, int], None],
) -> dict[str, dict[str, Any]]:
    """A run's policies and baselines anew: other policies, length, seeds, or traffic.

    Raises: ConfigError for a policy or trace that cannot be used; RunError for an untrained run.
    """
    settings = [
        f"evaluation.{key}={json.dumps(value)}"
        for key, value in (("policies", policies), ("steps", steps), ("seeds", seeds))
        if value is not None
    ]
    if traffic is not None:
        trace = {"kind": "csv", "path": str(traffic)}
        settings.append(f"scenario.mask={json.dumps(trace)}")
    config = load_config(str(run.path / "config.yaml"), settings)
    names = config.evaluated_policies
    trained = trained_policies(config, run) if set(names) & set(TRAINED) else {}
    total, counted = len(names) * config.evaluation.seeds, itertools.count(1)
    rollouts = evaluate_policies(
        config, trained, names, lambda name: heard(name, next(counted), total)
    )
    return summary_of(config, rollouts)


def summary_of(config: RunConfig, rollouts: Rollouts) -> dict[str, dict[str, Any]]:
    """`summary.json`'s table of policies."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(2,)))
    return {name: asdict(row) for name, row in summarise(rollouts, rng).items()}


def save_rollouts(path: Path, rollouts: Rollouts) -> None:
    """What figures need, (seed, step, cell) per policy and quantity, float32."""
    columns = {
        f"{name}.{kept}": np.stack([getattr(run, kept) for run in runs]).astype(np.float32)
        for name, runs in rollouts.items()
        for kept in KEPT
    }
    np.savez_compressed(path, allow_pickle=False, **columns)


def load_rollouts(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """By policy and quantity. Raises: OSError, ValueError for a file that is none."""
    table: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as columns:
        for key in columns.files:
            name, _, kept = key.rpartition(".")
            table.setdefault(name, {})[kept] = columns[key]
    return table


def _runs(
    config: RunConfig, policy: Policy, name: str, advance: Callable[[str], None]
) -> Iterator[Rollout]:
    env = network_of(config)
    for seed in evaluation_seeds(config):
        yield rollout(env, policy, config.evaluation.steps, seed)
        advance(name)
