"""TD3 of Stable-Baselines3, one model per cell."""

from typing import Any

import gymnasium
import numpy as np

from slicing_rllib.benchmarks.learning_peers.peer import (
    ACTOR_HIDDENS,
    BATCH_SIZE,
    CRITIC_HIDDENS,
    REPLAY_CAPACITY,
    WARM_UP_STEPS,
    TimedPeer,
)
from slicing_rllib.env import SlicingEnv
from slicing_rllib.radio import Scenario

ACTION_NOISE = 0.1
"""Standard deviation of the exploration noise that is added to each share."""
MIN_SHARE = 0.01


class Sb3TD3(TimedPeer):
    """Steps one network with all models, then updates the models one after the other."""

    def __init__(self, scenario: Scenario) -> None:
        self._env = SlicingEnv(scenario)
        self._obs, _ = self._env.reset(seed=0)
        self._models = {cell: _make_model(self._env, cell) for cell in scenario.cells}
        self._rng = np.random.default_rng(0)
        for _ in range(WARM_UP_STEPS):
            self._step()

    def train_briefly(self) -> int:
        self._step()
        for model in self._models.values():
            model.train(gradient_steps=1, batch_size=BATCH_SIZE)
        return 1

    def _step(self) -> None:
        action = {cell: self._choose_action(cell) for cell in self._models}
        obs, reward, _, truncated, _ = self._env.step(action)
        for cell, model in self._models.items():
            scaled = model.policy.scale_action(action[cell])
            model.replay_buffer.add(
                self._obs[cell][None],
                obs[cell][None],
                scaled[None],
                np.array([reward[cell]]),
                np.array([False]),
                [{}],
            )
        self._obs = self._env.reset()[0] if any(truncated.values()) else obs

    def _choose_action(self, cell: str) -> np.ndarray:
        share, _ = self._models[cell].predict(self._obs[cell], deterministic=True)
        noise = self._rng.normal(0, ACTION_NOISE, self._env.action_size).astype(np.float32)
        return np.clip(share + noise, MIN_SHARE, 1)


class _SpacesOnlyEnv(gymnasium.Env):
    """An environment that is never stepped: Stable-Baselines3 reads the spaces of its models."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def _make_model(env: SlicingEnv, cell: str) -> Any:
    # Only this benchmark needs Stable-Baselines3, which users need not have installed.
    from stable_baselines3 import TD3
    from stable_baselines3.common.logger import Logger

    model = TD3(
        "MlpPolicy",
        _SpacesOnlyEnv(env.observation_space(cell), env.action_space(cell)),
        batch_size=BATCH_SIZE,
        buffer_size=REPLAY_CAPACITY,
        device="cpu",
        policy_kwargs={"net_arch": {"pi": list(ACTOR_HIDDENS), "qf": list(CRITIC_HIDDENS)}},
        seed=0,
    )
    model.set_logger(Logger(None, []))
    return model
