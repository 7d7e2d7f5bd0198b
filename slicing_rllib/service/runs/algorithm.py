"""From a run's config to RLlib's algorithm, and back from a checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.policies.pretrained import PretrainedError, load_pretrained
from slicing_rllib.radio import StepKpis
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.transfer import WarmStartCallback

SAMPLE_TIMEOUT_S = 120.0
"""How long an iteration waits for an env runner before it goes on without it."""
HEALTH_PROBE_TIMEOUT_S = 0.5
"""How long an iteration waits for lost env runners to say whether they are back."""


def make_algorithm_config(config: RunConfig) -> TD3Config:
    """RLlib's config of a run, which plain RLlib and Tune programs can use as it is."""
    env = config.env_arguments | {"deployments": config.deployments}
    return (
        TD3Config()
        .environment(SlicingEnv, env_config=env)
        .training(**_make_learning_arguments(config))
        .env_runners(num_env_runners=config.num_env_runners, sample_timeout_s=SAMPLE_TIMEOUT_S)
        .learners(
            num_learners=config.num_learners, num_gpus_per_learner=config.num_gpus_per_learner
        )
        .debugging(seed=config.seed)
        .callbacks(WarmStartCallback.bind(config.transfer))
        .fault_tolerance(
            restart_failed_env_runners=True,
            delay_between_env_runner_restarts_s=0.0,
            env_runner_health_probe_timeout_s=HEALTH_PROBE_TIMEOUT_S,
            env_runner_restore_timeout_s=SAMPLE_TIMEOUT_S,
        )
    )


def _make_learning_arguments(config: RunConfig) -> dict[str, Any]:
    """Arguments of `TD3Config.training`. Raises: ConfigError for an unusable pretrained actor."""
    arguments = config.learning.model_dump(exclude={"training_steps", "initial_actor"})
    source = config.learning.initial_actor
    if source == "random":
        return arguments
    try:
        actor = load_pretrained(*(() if source == "builtin" else (Path(source),)))
    except PretrainedError as error:
        raise ConfigError(f"learning.initial_actor: {error}") from error
    return arguments | {"initial_actor": actor.weights, "actor_hiddens": actor.hiddens}


def build(config: RunConfig) -> TD3:
    """A new algorithm. Raises: ConfigError where it is to run on a GPU and there is none."""
    if config.num_gpus_per_learner and not torch.cuda.is_available():
        raise ConfigError("num_gpus_per_learner=1: expected a GPU with CUDA, this machine has none")
    algorithm = make_algorithm_config(config).build_algo()
    assert isinstance(algorithm, TD3)
    return algorithm


def restore(config: RunConfig, checkpoint: Path) -> TD3:
    """The algorithm as it was when the checkpoint was written."""
    algorithm = build(config)
    algorithm.restore_from_path(str(checkpoint.resolve()))
    return algorithm


class NetworkState(NamedTuple):
    """The last step of a network in training."""

    kpis: StepKpis
    phase: np.ndarray
    """Per cell, a `radio.Phase`."""


def read_network_state(algorithm: TD3) -> NetworkState | None:
    """Of the driver's network or the first env runner's; None where no env runner answers."""
    if not algorithm.config.num_env_runners:
        return _read_network(algorithm.env)
    workers: Any = algorithm.env_runner_group
    views = workers.foreach_env_runner(
        lambda runner: _read_network(runner.env), local_env_runner=False
    )
    return views[0] if views else None


def _read_network(env: SlicingEnv) -> NetworkState:
    return NetworkState(env.kpis, env.simulator.phase)
