"""The experience that a run leaves for others: each cell's newest transitions, in one file.

A run's policies as bundles of a policy library.

A run in which one cell of a trained network learns from another cell.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from slicing_rllib.env import BatchedStep, SlicingEnv
from slicing_rllib.learning import TD3
from slicing_rllib.learning.replay import Replay, Transitions, make_transitions
from slicing_rllib.policies import describe_policy
from slicing_rllib.random_streams import Stream, derive_run_seed, derive_seed
from slicing_rllib.runs.config_loading import check_config
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
from slicing_rllib.storage.errors import ConfigError, RunError
from slicing_rllib.storage.safe_yaml import Document
from slicing_rllib.storage.yaml_validation import validate_document
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
    """What all cells experience in `steps` network steps with the actions of `act`."""
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


def make_transfer_config(
    run: RunDirectory,
    target: str,
    *,
    source: str | None,
    method: str,
    measure: str | None,
    library: str | None,
    steps: int,
    seed: int | None,
) -> RunConfig:
    """The config of a run on the same network with unseen traffic, where only `target` learns.

    `source` is a cell, or a bundle of `library` (None: chosen by `measure`); `method` and `measure`
    are those of `TransferSettings` (None: the run's measure); `steps` are network steps under the
    target's own policy; `seed` is that of the new run (None: derived from the run's).
    Raises: ConfigError for a cell, method or measure that does not exist.
    """
    config = run.config()
    _check_cells(run, config, [target] if source is None or library else [target, source])
    plain: dict[str, Any] = config.model_dump()
    default_steps = max(config.env.default_action_steps, 1)
    transfer = {"targets": (target,), "source": source, "method": method, "library": library}
    transfer |= {} if measure is None else {"measure": measure}
    plain |= {
        "name": f"{config.name[:48]}-to-{target}",
        "seed": derive_run_seed(config.seed, Stream.TRANSFER_RUN) if seed is None else seed,
        "pretrained_run": str(run.path.resolve()),
        "transfer": plain["transfer"] | transfer,
        "env": plain["env"] | {"deployments": (), "default_action_steps": default_steps},
        "learning": plain["learning"] | _split_steps(config, default_steps + steps),
        "evaluation": plain["evaluation"] | {"policies": None},
    }
    document = Document(plain, "", "transfer")
    transfer_config = validate_document(RunConfig, document)
    check_config(transfer_config, document)
    return transfer_config


def load_pretrained_policies(config: RunConfig, algorithm: TD3) -> None:
    """Gives all cells but the targets the policies of `pretrained_run` and pauses their updates.

    Does nothing without a `pretrained_run`. Raises: RunError where that run has left no policies;
    ValueError for policies of another shape.
    """
    if config.pretrained_run is None:
        return
    trained = RunDirectory.open(Path(config.pretrained_run))
    weights, experience = trained.policies(), read_experience(trained)
    for cell in algorithm.cells:
        if cell not in config.transfer.targets and cell in weights:
            algorithm.set_policy_weights(cell, weights[cell])
            algorithm.replay.seed(cell, experience[cell].learned_from)
            algorithm.default_action_replay.seed(cell, experience[cell].default)
            algorithm.explore(cell, 0)
            algorithm.pause_updates(cell)


def _check_cells(run: RunDirectory, config: RunConfig, cells: list[str]) -> None:
    known = config.scenario.cells
    for cell in cells:
        if cell not in known:
            raise ConfigError(f"{run.path}: expected one of {known[0]} to {known[-1]}, got {cell}")


def _split_steps(config: RunConfig, total: int) -> dict[str, int]:
    """`total` steps, of which a cell that learns from scratch explores as many as in the run."""
    exploration = min(config.learning.exploration_steps, total)
    return {"exploration_steps": exploration, "training_steps": total - exploration}
