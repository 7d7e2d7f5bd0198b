"""What a run leaves for others: each cell's newest transitions, and bundles with its policies."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from slicing_rllib.env import BatchedStep, SlicingEnv
from slicing_rllib.learning import TD3
from slicing_rllib.learning.replay import Replay, Transitions, make_transitions
from slicing_rllib.policies import describe_policy
from slicing_rllib.random_streams import Stream, derive_seed
from slicing_rllib.runs.policy_evaluation import (
    evaluate_curve_point,
    make_cell_policies,
    make_network,
    make_trained_policy,
    record_kpis,
)
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory, read_tensors
from slicing_rllib.storage import replace_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import Bundle, PolicyLibrary
from slicing_rllib.transfer.policy_library import pack_transitions, unpack_transitions

FILE = "experience.safetensors"
MAX_FILE_TRANSITIONS = 250_000
"""Transitions of all cells together: large networks keep fewer per cell."""
MIN_DEFAULT_SAMPLES = 100
"""Where a cell has fewer steps under the default action, they are simulated anew for all cells."""


class CellExperience(NamedTuple):
    """Transitions of one cell."""

    learned_from: Transitions
    """The newest in its replay buffer."""
    default: Transitions
    """Those under the default action, by which cells are compared."""


def write_experience(run: RunDirectory, config: RunConfig, algorithm: TD3) -> None:
    """Writes the newest transitions of every cell, also under the default action."""
    per_cell = min(
        config.transfer.transferred_transitions, MAX_FILE_TRANSITIONS // len(algorithm.cells)
    )
    default = algorithm.default_action_replay
    if default.size.min() < MIN_DEFAULT_SAMPLES:
        default = record_default_action(config)
    tensors = {}
    for cell in algorithm.cells:
        experience = CellExperience(
            learned_from=algorithm.replay.last(cell, per_cell),
            default=default.last(cell, config.transfer.samples),
        )
        tensors |= pack_transitions({f"{cell}/{k}": t for k, t in experience._asdict().items()})
    with replace_durably(run.path / FILE) as partial:
        save_file(tensors, partial)


def read_experience(run: RunDirectory) -> dict[str, CellExperience]:
    """The experience of every cell. Raises: RunError where the run has left none."""
    path = run.path / FILE
    tensors = read_tensors(path, "the experience of a finished run")
    cells = dict.fromkeys(name.split("/")[0] for name in tensors)
    try:
        return {
            cell: CellExperience(
                *(unpack_transitions(tensors, f"{cell}/{kind}") for kind in CellExperience._fields)
            )
            for cell in cells
        }
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error


def record_default_action(config: RunConfig) -> Replay:
    """All cells of the run's network under the default action, on traffic of its own.

    As many steps as cells are compared by (`transfer.samples`).
    """
    env = make_network(config)
    equal = np.ones((len(env.cells), env.action_size), np.float32)
    seed = derive_seed(config.seed, Stream.DEFAULT_ACTION_TRAFFIC)
    return record_transitions(env, lambda before: equal, config.transfer.samples, seed)


def record_transitions(
    env: SlicingEnv, act: Callable[[BatchedStep], np.ndarray], steps: int, seed: int
) -> Replay:
    """What all cells experience in `steps` environment steps with the actions of `act`."""
    replay = Replay(
        env.cells,
        env.obs_size,
        env.action_size,
        steps,
        reward_inputs_size=env.reward_inputs_size,
        counterfactual_inputs_size=env.counterfactual_inputs_size,
    )
    before = env.reset_batched(seed)
    for _ in range(steps):
        after = env.step_batched(act(before))
        replay.add(make_transitions(before, after), before.live & after.live)
        before = env.reset_batched() if after.truncated.all() else after
    return replay


def add_run(
    library: PolicyLibrary, run: RunDirectory, cells: list[str] | None, name: str | None
) -> list[tuple[str, int]]:
    """Adds the policies of a finished run; the name and version of each bundle.

    `cells` limits which (None: all). Bundles are called `NAME-CELL`, by default with the run's
    name. Raises: RunError for a cell that the run does not have, or a run that is not finished.
    """
    config = run.config()
    for cell in cells or ():
        if cell not in config.scenario.cells:
            known = config.scenario.cells
            raise RunError(f"{run.path}: no {cell}, expected one of {known[0]} to {known[-1]}")
    bundles = make_bundles(run, config, cells)
    return [
        (f"{name or config.name}-{cell}", library.add(f"{name or config.name}-{cell}", bundle))
        for cell, bundle in bundles.items()
    ]


def make_bundles(
    run: RunDirectory, config: RunConfig, cells: list[str] | None = None
) -> dict[str, Bundle]:
    """A bundle per cell, with the mean reward of its policy on the run's evaluation traffic."""
    scenario = config.scenario
    weights, experience = run.policies(), read_experience(run)
    rewards = evaluate_curve_point(config, make_trained_policy(config, weights)).rewards.tolist()
    policies = make_cell_policies(config, weights, record_kpis(config, weights))
    return {
        cell: Bundle(
            weights=weights[cell],
            experience=experience[cell].learned_from,
            default_action_experience=experience[cell].default,
            slices=tuple(spec.name for spec in scenario.slices),
            sla_throughput_mbps=tuple(scenario.sla_throughput_mbps[row].tolist()),
            sla_delay_ms=tuple(scenario.sla_delay_ms[row].tolist()),
            message=config.env.message,
            returns={"evaluation_reward_mean": rewards[row]},
            provenance=policies[cell].provenance,
            policy=describe_policy(policies[cell]),
        )
        for row, cell in enumerate(scenario.cells)
        if cells is None or cell in cells
    }
