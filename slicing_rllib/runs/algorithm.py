"""From a run's config to RLlib's algorithm, and back from a checkpoint.

Also what only a trial shows of a config: whether the run fits this machine, and a few steps of its
network.
"""

from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.policies.trained_policy import (
    BUILTIN,
    BUILTIN_CURVES,
    PretrainedError,
    load_pretrained,
)
from slicing_rllib.runs.experience import read_experience
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_size import describe_excess, estimate_bytes
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.foreign_files import MIB
from slicing_rllib.transfer import WarmStartCallback

SAMPLE_TIMEOUT_S = 120.0
"""How long an iteration waits for an env runner before it goes on without it."""
HEALTH_PROBE_TIMEOUT_S = 0.5
"""How long an iteration waits for lost env runners to say whether they are back."""


def build(config: RunConfig) -> TD3:
    """A new algorithm.

    Raises: ConfigError for an unusable pretrained actor, or where the run needs a GPU and there is
    none.
    """
    if config.num_gpus_per_learner and not torch.cuda.is_available():
        raise ConfigError("num_gpus_per_learner=1: expected a GPU with CUDA, this machine has none")
    arguments = config.learning.model_dump(
        exclude={"training_steps", "initial_actor", "initial_critic"}, exclude_none=True
    )
    for network, builtin in {"actor": BUILTIN, "critic": BUILTIN_CURVES}.items():
        source = getattr(config.learning, f"initial_{network}")
        if source != "random":
            try:
                found = load_pretrained(builtin if source == "builtin" else Path(source))
            except PretrainedError as error:
                raise ConfigError(f"learning.initial_{network}: {error}") from error
            arguments |= {"initial_weights": found.weights, f"{network}_hiddens": found.hiddens}
    algorithm = (
        TD3Config()
        .environment(
            SlicingEnv,
            env_config=config.env_arguments
            | {"deployments": config.deployments, "events": config.env.events},
        )
        .training(**arguments)
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
        .build_algo()
    )
    assert isinstance(algorithm, TD3)
    return algorithm


def restore(config: RunConfig, checkpoint: Path) -> TD3:
    """The algorithm as it was when the checkpoint was written."""
    algorithm = build(config)
    algorithm.restore_from_path(str(checkpoint.resolve()))
    return algorithm


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


MAX_CELLS = 500
"""Building a larger network takes too long for a check."""
MAX_MAP_BYTES = 32 * MIB
"""Size of the radio map in a check, which takes half a second. A finer map is checked at a coarser
resolution: a run at 1 m would take seven seconds to build it."""
STEPS = 2


def check_memory(config: RunConfig, where: str) -> None:
    """Compares the estimated size of a run with the memory of this machine.

    `where` is what the message calls the config. Raises: ConfigError naming the largest part.
    """
    estimates = estimate_bytes(config)
    available, needed = psutil.virtual_memory().total, sum(estimates.values())
    if needed > available:
        largest = max(estimates, key=lambda path: estimates[path])
        excess = describe_excess(available, needed)
        raise ConfigError(f"{where}: {largest}: {excess} for the run; this machine has no more")


def check_network(config: RunConfig, where: str) -> None:
    """Builds the network and steps it with equal shares.

    `where` is what the message calls the config. Raises: ConfigError where that fails, or where
    observations or rewards are not finite.
    """
    if len(config.scenario.cells) > MAX_CELLS:
        return
    with np.errstate(all="ignore"):
        try:
            scenario = config.scenario
            excess = estimate_bytes(config)["scenario.radio.map_resolution_m"] / MAX_MAP_BYTES
            resolution_m = scenario.radio.map_resolution_m * sqrt(max(1.0, excess))
            radio = replace(scenario.radio, map_resolution_m=resolution_m)
            arguments: dict[str, Any] = config.env_arguments
            arguments["scenario"] = replace(scenario, radio=radio)
            env = SlicingEnv(**arguments)
            env.reset_batched(config.seed)
            equal = np.full((len(env.cells), env.action_size), 1 / env.action_size, np.float32)
            steps = [env.step_batched(equal) for _ in range(STEPS)]
        except (ArithmeticError, ValueError, LookupError, MemoryError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{where}: scenario: cannot be simulated: {why}") from error
    if not all(np.isfinite(step.reward).all() and np.isfinite(step.obs).all() for step in steps):
        raise ConfigError(
            f"{where}: scenario: expected finite observations and rewards, got others in the first "
            "steps of its network"
        )
