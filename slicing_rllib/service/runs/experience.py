"""The experience that a run leaves for others: each cell's newest transitions, in one file."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from slicing_rllib.env import SlicingEnv, StepColumns
from slicing_rllib.learning import TD3
from slicing_rllib.learning.replay import Replay, Transitions, make_transitions
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.evaluation import make_network
from slicing_rllib.service.runs.random_streams import Stream, derive_seed
from slicing_rllib.service.runs.run_directory import RunDirectory, read_tensors
from slicing_rllib.storage import replace_durably

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
        for kind, transitions in experience._asdict().items():
            for field, column in transitions._asdict().items():
                tensors[f"{cell}/{kind}/{field}"] = np.ascontiguousarray(column)
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
                *(_unpack_transitions(tensors, cell, kind) for kind in CellExperience._fields)
            )
            for cell in cells
        }
    except KeyError as error:
        raise RunError(f"{path}: expected a tensor {error}") from error


def record_default_action(config: RunConfig) -> Replay:
    """All cells of the run's network under the default action, on traffic of its own.

    As many steps as cells are compared by (`transfer.samples`).
    """
    env = make_network(config)
    equal = np.ones((len(env.cells), env.action_size), np.float32)
    seed = derive_seed(config.seed, Stream.DEFAULT_ACTION_TRAFFIC)
    return record_transitions(env, lambda before: equal, config.transfer.samples, seed)


def record_transitions(
    env: SlicingEnv, act: Callable[[StepColumns], np.ndarray], steps: int, seed: int
) -> Replay:
    """What all cells experience in `steps` network steps with the actions of `act`."""
    replay = Replay(
        env.cells,
        env.obs_size,
        env.action_size,
        steps,
        outcome_size=env.outcome_size,
        feedback_size=env.feedback_size,
    )
    before = env.reset_columns(seed)
    for _ in range(steps):
        after = env.step_columns(act(before))
        replay.add(make_transitions(before, after), before.live & after.live)
        before = env.reset_columns() if after.truncated.all() else after
    return replay


def _unpack_transitions(tensors: Mapping[str, np.ndarray], cell: str, kind: str) -> Transitions:
    return Transitions(*(tensors[f"{cell}/{kind}/{field}"] for field in Transitions._fields))
