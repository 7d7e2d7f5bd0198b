"""Whether a run fits this machine, and a few steps of its network: what only a trial shows."""

from dataclasses import replace
from math import sqrt

import numpy as np
import psutil

from slicing_rllib.env import SlicingEnv
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.config.run_size import describe_excess, estimate_bytes
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.storage.regular_file import MIB

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
    available = psutil.virtual_memory().total
    if sum(estimates.values()) > available:
        largest = max(estimates, key=lambda path: estimates[path])
        raise ConfigError(
            f"{where}: {largest}: {describe_excess(available, sum(estimates.values()))} for the "
            "run; this machine has no more"
        )


def check_network(config: RunConfig, where: str) -> None:
    """Builds the network and steps it with equal shares.

    `where` is what the message calls the config. Raises: ConfigError where that fails, or where
    observations or rewards are not finite.
    """
    if len(config.scenario.cells) > MAX_CELLS:
        return
    with np.errstate(all="ignore"):
        try:
            env = _make_coarse_network(config)
            env.reset_columns(config.seed)
            equal = np.full((len(env.cells), env.action_size), 1 / env.action_size, np.float32)
            steps = [env.step_columns(equal) for _ in range(STEPS)]
        except (ArithmeticError, ValueError, LookupError, MemoryError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{where}: scenario: cannot be simulated: {why}") from error
    if not all(np.isfinite(step.reward).all() and np.isfinite(step.obs).all() for step in steps):
        raise ConfigError(
            f"{where}: scenario: expected finite observations and rewards, got others in the first "
            "steps of its network"
        )


def _make_coarse_network(config: RunConfig) -> SlicingEnv:
    """The run's network; a radio map above `MAX_MAP_BYTES` has a coarser resolution."""
    scenario = config.scenario
    excess = estimate_bytes(config)["scenario.radio.map_resolution_m"] / MAX_MAP_BYTES
    resolution_m = scenario.radio.map_resolution_m * sqrt(max(1.0, excess))
    radio = replace(scenario.radio, map_resolution_m=resolution_m)
    arguments = config.env_arguments
    arguments["scenario"] = replace(scenario, radio=radio)
    return SlicingEnv(**arguments)
