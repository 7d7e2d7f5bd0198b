"""What the learning benchmark needs from each way of training, and the sizes that all share."""

import time
from typing import Protocol, runtime_checkable

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.learning.stacked_networks import NetworkSizes

BATCH_SIZE = 32
"""Transitions per cell and update."""
WARM_UP_STEPS = 2 * BATCH_SIZE
"""Network steps that fill the replay buffers before the first update."""
REPLAY_CAPACITY = 10_000
"""Transitions per cell."""
ACTOR_HIDDENS = (48, 24)
CRITIC_HIDDENS = (64, 24)
"""Hidden layer widths of the paper."""


@runtime_checkable
class Peer(Protocol):
    """A training of all cells of a network whose speed can be measured."""

    def run(self, seconds: float) -> float:
        """Trains for at least `seconds`; returns network steps per second, updates included."""
        ...

    def close(self) -> None:
        """Frees processes and memory."""
        ...


class TimedPeer:
    """A peer that repeats one short piece of training until the time is up."""

    def run(self, seconds: float) -> float:
        """Trains for at least `seconds`; returns network steps per second, updates included."""
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or not steps:
            steps += self.train_briefly()
        return steps / elapsed

    def train_briefly(self) -> int:
        """Makes at least one network step with its updates; returns the number of steps."""
        raise NotImplementedError

    def close(self) -> None:
        """Does nothing: this peer holds no processes."""


def get_network_sizes(env: SlicingEnv) -> NetworkSizes:
    """Returns the layer widths of each cell's actor and critics, as in the paper."""
    obs, action = env.obs_size, env.action_size
    return NetworkSizes(
        (obs, *ACTOR_HIDDENS, action), (obs + action, *CRITIC_HIDDENS, 1), ActorForm(action)
    )
