"""The episode metrics of a result, also of iterations in which no episode ended."""

import math
from collections.abc import Mapping
from typing import Any

from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_AGENT_STEPS,
    EPISODE_DURATION_SEC_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_EPISODES,
)

NAMES = (
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_LEN_MAX,
    EPISODE_DURATION_SEC_MEAN,
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_AGENT_STEPS,
    EPISODE_MODULE_RETURN_MEAN,
)


class EpisodeResults:
    """Keeps the metrics of the last episodes until others have ended.

    Iterations may be shorter than episodes here. RLlib's means are then NaN or missing, which ends
    schedulers such as ASHA. Before the first episode has ended, the mean return is NaN.
    """

    def __init__(self) -> None:
        self._last: dict[str, Any] = {EPISODE_RETURN_MEAN: math.nan}

    def complete(self, result: dict[str, Any]) -> None:
        """Add the metrics of the last episodes to the result, or note those that it has."""
        found = result.setdefault(ENV_RUNNER_RESULTS, {})
        if found.get(NUM_EPISODES, 0):
            self._last = {name: found[name] for name in NAMES if name in found}
        else:
            found.update(self._last)

    def state(self) -> dict[str, Any]:
        """The metrics of the last episodes, for a checkpoint."""
        return dict(self._last)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        self._last = {EPISODE_RETURN_MEAN: math.nan, **state}
