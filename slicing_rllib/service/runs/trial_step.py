"""Whether a run fits this machine, and a few steps of its network: what only a trial shows."""

import numpy as np
import psutil

from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.config.run_size import describe_excess, estimate_bytes
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.runs.evaluation import make_network
from slicing_rllib.storage.regular_file import MIB

MAX_CELLS, MAX_MAP_BYTES = 500, 512 * MIB
"""Building a larger network takes too long for a check."""
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
    map_bytes = estimate_bytes(config)["scenario.radio.map_resolution_m"]
    if len(config.scenario.cells) > MAX_CELLS or map_bytes > MAX_MAP_BYTES:
        return
    with np.errstate(all="ignore"):
        try:
            env = make_network(config)
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
