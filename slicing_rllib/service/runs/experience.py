"""What a run leaves for others to learn from: each cell's newest transitions, in one file."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.run_directory import RunDirectory

FILE = "experience.safetensors"
LARGEST_FILE_TRANSITIONS = 250_000
FEWEST_SAMPLES = 100
_SPAWN_WINDOW = 1_000_005


class CellExperience(NamedTuple):
    """Of one cell."""

    learned_from: Transitions
    default: Transitions
    """Under the default action."""


def write_experience(run: RunDirectory, config: RunConfig, algorithm: TD3) -> None:
    """Newest transitions of every cell; a window under the default action where none was seen."""
    each = min(
        config.transfer.transferred_transitions, LARGEST_FILE_TRANSITIONS // len(algorithm.cells)
    )
    seen = algorithm.default_action_replay
    if seen.size.min() < FEWEST_SAMPLES:
        seen = default_window(config)
    tensors = {}
    for cell in algorithm.cells:
        kinds = {
            "learned_from": algorithm.replay.last(cell, each),
            "default": seen.last(cell, config.transfer.samples),
        }
        for kind, transitions in kinds.items():
            for field, column in transitions._asdict().items():
                tensors[f"{cell}/{kind}/{field}"] = np.ascontiguousarray(column)
    partial = run.path / f"{FILE}.partial"
    save_file(tensors, partial)
    partial.replace(run.path / FILE)


def read_experience(run: RunDirectory) -> dict[str, CellExperience]:
    """By cell. Raises: RunError where the run has left none."""
    path = run.path / FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: expected what a finished run experienced ({error})") from error
    cells = dict.fromkeys(name.split("/")[0] for name in tensors)
    return {
        cell: CellExperience(_of(tensors, cell, "learned_from"), _of(tensors, cell, "default"))
        for cell in cells
    }


def default_window(config: RunConfig, steps: int | None = None) -> Replay:
    """All cells under the default action on the run's network, on traffic of its own."""
    env = SlicingEnv(
        config.scenario,
        message=config.env.message,
        episode_steps=config.env.episode_steps,
        map_seed=config.env.map_seed,
    )
    count = steps or config.transfer.samples
    replay = Replay(env.cells, env.obs_size, env.action_size, count, env.outcome_size)
    seed = np.random.SeedSequence(config.seed, spawn_key=(_SPAWN_WINDOW,)).generate_state(1)[0]
    before = env.reset_columns(int(seed))
    equal = np.ones((len(env.cells), env.action_size), np.float32)
    for _ in range(count):
        after = env.step_columns(equal)
        step = Transitions(
            before.obs,
            after.action,
            after.reward,
            after.obs,
            after.terminated.astype(np.float32),
            after.feedback,
            after.outcome,
        )
        replay.add(step, before.live & after.live)
        before = env.reset_columns() if after.truncated.all() else after
    return replay


def _of(tensors: Mapping[str, np.ndarray], cell: str, kind: str) -> Transitions:
    return Transitions(*(tensors[f"{cell}/{kind}/{field}"] for field in Transitions._fields))
