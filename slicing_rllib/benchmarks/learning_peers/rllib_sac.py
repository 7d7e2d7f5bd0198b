"""RLlib's own SAC: the off-policy algorithm closest to TD3 that RLlib still contains."""

from typing import Any

from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env

from slicing_rllib.benchmarks.learning_peers.peer import (
    BATCH_SIZE,
    REPLAY_CAPACITY,
    WARM_UP_STEPS,
    TimedPeer,
)
from slicing_rllib.env import SlicingEnv
from slicing_rllib.radio import Scenario

ENV_NAME = "slicing_stock"


class StockSAC(TimedPeer):
    """One RLModule per cell, trained by RLlib without any code of this project's learning part."""

    def __init__(self, scenario: Scenario) -> None:
        register_env(ENV_NAME, lambda _: ParallelPettingZooEnv(SlicingEnv(scenario)))
        self._algorithm = _configure(scenario).build_algo()
        while self._count_steps() <= WARM_UP_STEPS:
            self._algorithm.train()

    def train_briefly(self) -> int:
        before = self._count_steps()
        self._algorithm.train()
        return self._count_steps() - before

    def close(self) -> None:
        """Stops the algorithm."""
        self._algorithm.stop()

    def _count_steps(self) -> int:
        path = ("env_runners", "num_env_steps_sampled_lifetime")
        return int(self._algorithm.metrics.peek(path, default=0))


def _configure(scenario: Scenario) -> SACConfig:
    """One update of each cell per network step, as all peers make it."""
    return (
        SACConfig()
        .environment(ENV_NAME)
        .env_runners(num_env_runners=0, rollout_fragment_length=1)
        .multi_agent(policies=set(scenario.cells), policy_mapping_fn=_map_agent_to_policy)
        .training(
            train_batch_size_per_learner=BATCH_SIZE,
            num_steps_sampled_before_learning_starts=WARM_UP_STEPS,
            replay_buffer_config={
                "type": "MultiAgentEpisodeReplayBuffer",
                "capacity": REPLAY_CAPACITY,
            },
        )
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
        .debugging(seed=0)
    )


def _map_agent_to_policy(agent: Any, episode: Any, **_: Any) -> Any:
    return agent
