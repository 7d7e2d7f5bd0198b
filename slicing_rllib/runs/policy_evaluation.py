"""A run's policies: made from its weights, evaluated beside baselines on traffic that no training
has seen, and cell by cell as they are served and exported.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import BatchedStep, DecisionView, Policy, SlicingEnv, TimedEvent
from slicing_rllib.env.timed_events import find_conditions
from slicing_rllib.evaluation import Rollout, rollout, summarise
from slicing_rllib.evaluation.statistics import SATISFIED, summarise_hours
from slicing_rllib.policies import (
    BasePolicySplit,
    CellPolicy,
    KpiRange,
    PretrainedCurves,
    PretrainedPolicy,
    TrainedPolicy,
    make_encoders,
    select_actor,
)
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.policies.td3_settings import TRAINED_POLICIES
from slicing_rllib.radio import Scenario, StepKpis
from slicing_rllib.random_streams import Stream, derive_seed, make_generator
from slicing_rllib.runs.config_loading import dump_resolved_yaml, make_mask_settings
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage import open_regular, replace_durably, require_regular
from slicing_rllib.storage.foreign_files import GIB
from slicing_rllib.transfer.policy_library import identify_cell

MAX_ROLLOUTS_BYTES = GIB
SAVED_COLUMNS = ("reward", "satisfaction", "delay_max_ms", "delay_to_sla_max", "live")
"""Columns of a rollout that figures are drawn from."""

Rollouts = dict[str, list[Rollout]]
"""By policy, a rollout per evaluation seed."""
Weights = Mapping[str, Mapping[str, np.ndarray]]
"""By cell and parameter name."""
OnRollout = Callable[[str, int, int], None]
"""Called after each rollout with its policy, the rollouts done, and all rollouts."""


def derive_evaluation_seeds(config: RunConfig) -> list[int]:
    """Seeds of traffic that no training of this config sees."""
    seed = config.seed if config.evaluation.seed is None else config.evaluation.seed
    return [derive_seed(seed, Stream.EVALUATION_TRAFFIC, i) for i in range(config.evaluation.seeds)]


def list_past_events(config: RunConfig, env_steps: int | None = None) -> tuple[TimedEvent, ...]:
    """Events up to an environment step, or of the whole run, as if all were at the start."""
    last = (config.total_steps if env_steps is None else env_steps) / max(config.num_env_runners, 1)
    ordered = sorted(config.env.events, key=lambda event: event.step)
    return tuple(replace(event, step=0) for event in ordered if event.step <= last)


def scenario_at(config: RunConfig, env_steps: int | None = None) -> Scenario:
    """The scenario with the SLAs of an environment step, None for those of the end."""
    past = list_past_events(config, env_steps)
    return find_conditions(past, 0, config.scenario)[0] if past else config.scenario


def make_network(config: RunConfig, env_steps: int | None = None) -> SlicingEnv:
    """The run's network, with all cells live from the start, but those that an event switched off.

    Its events are those up to an environment step of the training, None for all, from the start.
    """
    return SlicingEnv(**config.env_arguments, events=list_past_events(config, env_steps))


def make_trained_policy(config: RunConfig, weights: Weights) -> TrainedPolicy:
    """The policy of all cells with these weights."""
    return TrainedPolicy(config.scenario.cells, weights, config.actor_form)


def make_compared_config(config: RunConfig, learner: str) -> RunConfig:
    """The config of one of `compared_learners`: the same network, where all cells begin anew."""
    plain = config.model_dump() | {"name": f"{config.name[:50]}-{learner}", "tracking": ()}
    steps = plain["compared_learners"][learner]
    per_iteration = config.learning.steps_per_iteration
    plain["learning"] = {
        "critic": learner, "training_steps": steps, "steps_per_iteration": per_iteration
    }  # fmt: skip
    plain["env"] |= {"observation": "response", "deployments": ()}
    plain["evaluation"] |= {"policies": (learner,), "every_steps": per_iteration}
    plain["transfer"] |= {"method": "none", "targets": ()}
    return RunConfig.model_validate(plain | {"compared_learners": {}, "pretrained_run": None})


def make_named_policy(name: str, config: RunConfig, run: RunDirectory) -> Policy:
    """A baseline, a policy of the package, or one that the run has trained.

    Raises: RunError where the run has no trained policies yet; ValueError for a kind of trained
    policy that it never has.
    """
    if name == config.own_policy:
        return make_trained_policy(config, run.policies())
    if name in config.compared_learners:
        other = make_compared_config(config, name)
        return make_trained_policy(other, run.compared(name).policies())
    if name in TRAINED_POLICIES:
        if not config.trains_from_scratch_too:
            raise ValueError(f"policy {name}: expected a run that has it")
        return make_trained_policy(config, run.from_scratch.policies())
    if name == "pretrained":
        return PretrainedPolicy(scenario_at(config))
    if name == "pretrained_curves":
        return PretrainedCurves(scenario_at(config))
    if name == "base_policy":
        return BasePolicySplit(len(config.scenario.slices))
    rng = make_generator(config.seed, Stream.BASELINE_FITTING)
    map_seed, smoothing = config.map_seed, config.env.smoothing
    return make_policy(name, scenario_at(config), rng, map_seed=map_seed, smoothing=smoothing)


class CurvePoint(NamedTuple):
    """What a policy gets on the traffic of the learning curve."""

    by_seed: Float[np.ndarray, "seed cell"]
    """Mean reward of each cell on the traffic of each seed."""
    fail_rate_95: float
    """Share of (cell, step) with a satisfaction below 0.95."""

    @property
    def rewards(self) -> Float[np.ndarray, " cell"]:
        """Mean reward of each cell over all seeds."""
        return np.mean(self.by_seed, axis=0)


def evaluate_curve_point(
    config: RunConfig, policy: Policy, seeds: int | None = None, env_steps: int | None = None
) -> CurvePoint:
    """Evaluates on the first `seeds` evaluation seeds, or on all of them, as at `env_steps`."""
    env = make_network(config, env_steps)
    runs = [
        rollout(env, policy, config.evaluation.steps, seed)
        for seed in derive_evaluation_seeds(config)[:seeds]
    ]
    rewards = np.stack([run.reward.mean(axis=0) for run in runs])
    return CurvePoint(rewards, float(np.mean([run.satisfaction < SATISFIED for run in runs])))


def evaluate_policies(
    config: RunConfig, run: RunDirectory, on_rollout: OnRollout, own: Policy | None = None
) -> Rollouts:
    """The config's evaluated policies, the run's own among them, on every evaluation seed.

    `own` is the run's own policy, None for that of its saved weights.
    """
    policies = {
        name: own
        if own is not None and name == config.own_policy
        else make_named_policy(name, config, run)
        for name in config.evaluated_policies
    }
    seeds = derive_evaluation_seeds(config)
    total, counter = len(policies) * len(seeds), itertools.count(1)
    rollouts: Rollouts = {}
    for name, policy in policies.items():
        is_compared = name in config.compared_learners
        seen = make_compared_config(config, name) if is_compared else config
        rollouts[name], env = [], make_network(seen)
        for seed in seeds:
            rollouts[name].append(rollout(env, policy, config.evaluation.steps, seed))
            on_rollout(name, next(counter), total)
    return rollouts


def evaluate_run(
    run: RunDirectory,
    *,
    policies: Sequence[str] | None,
    steps: int | None,
    seeds: int | None,
    traffic: Path | None,
    on_rollout: OnRollout,
) -> dict[str, Any]:
    """Evaluates a finished run again, with what is not None instead of its own settings.

    `policies` are names, `steps` environment steps per seed, `seeds` their number, and `traffic` a
    traffic file, or a YAML file with the settings of one. Returns `policies` and, for traffic with
    a clock, `hours`, as in `summary.json`. Raises: ConfigError for a policy or traffic that cannot
    be used; RunError for a run without trained policies.
    """
    settings = [
        f"evaluation.{key}={json.dumps(value)}"
        for key, value in (("policies", policies), ("steps", steps), ("seeds", seeds))
        if value is not None
    ]
    if traffic is not None:
        mask = make_mask_settings(traffic, run.config().scenario.mask)
        settings.append(f"scenario.mask={json.dumps(mask)}")
    config = run.config(settings)
    return summarise_rollouts(evaluate_policies(config, run, on_rollout))


def summarise_rollouts(rollouts: Rollouts) -> dict[str, Any]:
    """`policies` of `summary.json`, and `hours` where the traffic has a clock."""
    hours = summarise_hours(rollouts)
    return {"policies": summarise(rollouts)} | ({"hours": hours} if hours else {})


def save_rollouts(path: Path, rollouts: Rollouts) -> None:
    """Writes what figures need: (seed, step, cell) per policy and quantity, float32."""
    columns = {
        f"{name}.{kept}": np.stack([getattr(run, kept) for run in runs]).astype(np.float32)
        for name, runs in rollouts.items()
        for kept in SAVED_COLUMNS
    }
    with replace_durably(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)


def load_rollouts(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """What `save_rollouts` wrote, by policy and quantity.

    Raises: OSError or ValueError for a file that cannot be read.
    """
    table: dict[str, dict[str, np.ndarray]] = {}
    require_regular(path, MAX_ROLLOUTS_BYTES)
    with open_regular(path) as file, np.load(file, allow_pickle=False) as columns:
        for key in columns.files:
            name, _, kept = key.rpartition(".")
            table.setdefault(name, {})[kept] = columns[key]
    return table


def make_cell_policies(
    config: RunConfig, weights: Weights, recorded: Sequence[StepKpis]
) -> dict[str, CellPolicy]:
    """The policy of each cell that has weights.

    `recorded` are KPIs of the run's network, for the ranges in which policies have been tried.
    Raises: PolicyError for weights that are not finite or do not fit the run's observations.
    """
    seen = config.env_arguments
    names = ("observation", "message", "base_policy", "smoothing")
    encoders = make_encoders(config.scenario, *(seen[name] for name in names))
    ranges: list[dict[str, tuple[KpiRange, ...]]] = [{} for _ in config.scenario.cells]
    for kpi in next(iter(encoders.values())).required_kpis if recorded else ():
        values = np.stack([getattr(step, kpi) for step in recorded])
        low, high = values.min(axis=(0, 1)).tolist(), values.max(axis=(0, 1)).tolist()
        means, stds = values.mean(axis=0).tolist(), values.std(axis=0).tolist()
        for row, (mean, std) in enumerate(zip(means, stds, strict=True)):
            ranges[row][kpi] = tuple(map(KpiRange, low, high, mean, std))
    origin = {
        "run": config.name,
        "seed": config.seed,
        "config_sha256": hashlib.sha256(dump_resolved_yaml(config).encode()).hexdigest(),
        "slicing_rllib": version("slicing-rllib"),
    }
    network = (config.scenario.name, config.map_seed)
    return {
        cell: CellPolicy(
            encoder=encoders[cell],
            form=config.actor_form,
            weights=select_actor(weights[cell]),
            name=f"{config.name}-{cell}",
            recorded=ranges[row],
            provenance=origin | {"cell": cell, "network": identify_cell(*network, cell)},
        )
        for row, cell in enumerate(config.scenario.cells)
        if cell in weights
    }


def record_kpis(config: RunConfig, weights: Weights, steps: int = 250) -> list[StepKpis]:
    """KPIs of the run's network under its own policies, on its first evaluation seed."""
    env = make_network(config)
    policy = make_trained_policy(config, weights)
    return [env.kpis for _ in follow(env, policy, steps, derive_evaluation_seeds(config)[0])]


def follow(env: SlicingEnv, policy: Policy, steps: int, seed: int) -> Iterator[BatchedStep]:
    """Yields after the reset and after each of `steps` environment steps with a policy."""
    batched = env.reset_batched(seed)
    yield batched
    for _ in range(steps):
        view = DecisionView(batched.obs, env.kpis, env.simulator, env.reports)
        batched = env.step_batched(policy.prb_ratio(view).astype(np.float32))
        yield batched
        if batched.truncated.all():
            batched = env.reset_batched()
