"""What a TD3 checkpoint holds besides RLlib's own state: RLlib saves no replay buffer or stream.

Random streams are functions of the seed and a step number, so the counters restore them.
"""

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray

from slicing_rllib.learning.adapted_env import AdaptedEnv, offers_state

if TYPE_CHECKING:
    from slicing_rllib.learning.td3 import TD3

logger = logging.getLogger(__name__)
BUFFERS = ("replay", "default_action_replay", "source_replay")


def collect_state(algorithm: "TD3") -> dict[str, Any]:
    """Copies of all that a bit-exact continuation needs."""
    return {
        "kept_steps": algorithm.worker_sampling.keep(),
        "workers": _collect_workers(algorithm),
        **{name: getattr(algorithm, name).state() for name in BUFFERS},
        "cell_states": algorithm.cell_states.state(),
        "episode_results": algorithm.episode_results.state(),
        "modules": list(algorithm.module_ids),
        "callback_state": copy.deepcopy(algorithm.callback_state),
        "env_steps": algorithm.env_steps,
        "updates": algorithm.updates,
    }


def warn_of_missing_state(env: Any) -> None:
    """Log that checkpoints lack the environment, if it cannot save its state."""
    if not offers_state(env):
        name = type(env.unwrapped.unwrapped if isinstance(env, AdaptedEnv) else env).__name__
        logger.warning("environment %s cannot save its state; a resumed run resets it", name)


def restore_state(algorithm: "TD3", state: Mapping[str, Any]) -> None:
    """Put a collected state back."""
    for cell in set(algorithm.module_ids) - set(state["modules"]):
        algorithm.remove_module(cell)
    for name in BUFFERS:
        getattr(algorithm, name).restore(state[name])
    algorithm.cell_states.restore(state["cell_states"])
    # Checkpoints of earlier versions have none.
    algorithm.episode_results.restore(state.get("episode_results", {}))
    algorithm.worker_sampling.restore(state["kept_steps"])
    _restore_workers(algorithm, state["workers"])
    algorithm.td3_learner.freeze(algorithm.cell_states.frozen_parameters)
    algorithm.callback_state = copy.deepcopy(state["callback_state"])
    algorithm.env_steps = int(state["env_steps"])
    algorithm.updates = int(state["updates"])


def _collect_workers(algorithm: "TD3") -> dict[int, Any]:
    """By env runner: where its environments stand. RLlib saves the driver's env runner itself."""
    if not algorithm.config.num_env_runners:
        return {}
    workers: Any = algorithm.env_runner_group
    return dict(
        workers.foreach_env_runner(
            lambda runner: (runner.index, runner.get_state()), local_env_runner=False
        )
    )


def _restore_workers(algorithm: "TD3", states: Mapping[int, Any]) -> None:
    if states:
        kept = ray.put(dict(states))
        workers: Any = algorithm.env_runner_group
        workers.foreach_env_runner(
            lambda runner: runner.set_state(ray.get(kept).get(runner.index, {})),
            local_env_runner=False,
        )
