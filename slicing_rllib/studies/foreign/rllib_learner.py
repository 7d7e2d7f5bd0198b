"""RLlib's own algorithms: one policy for all cells, or one per cell."""

from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.utils.spaces.space_utils import unsquash_action
from ray.tune.registry import register_env

from slicing_rllib.learning.adapters import RLlibSlicingEnv
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.studies.foreign.recorded_network import (
    Actions,
    ForeignLearner,
    RecordedNetwork,
)

NAME = "recorded_slicing"
SHARED = "shared"


def make_recorded_env(env_config: dict[str, Any]) -> RLlibSlicingEnv:
    """The environment of an env runner in this process."""
    return RLlibSlicingEnv(RecordedNetwork(env_config["config"]))


def make_config(kind: str, gamma: float) -> AlgorithmConfig:
    """RLlib's defaults, with sizes for the thousands of steps of an arm."""
    if kind == "PPO":
        return PPOConfig().training(
            gamma=gamma, lr=3e-4, train_batch_size_per_learner=250, minibatch_size=250,
            num_epochs=10, use_kl_loss=False,
        )  # fmt: skip
    return (
        SACConfig()
        .training(
            gamma=gamma, train_batch_size_per_learner=256,
            num_steps_sampled_before_learning_starts=500,
            # RLlib's default buffer is for one agent.
            replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer", "capacity": 100_000},
        )
        .env_runners(rollout_fragment_length=1)
        .reporting(min_sample_timesteps_per_iteration=50)
    )  # fmt: skip


class RllibLearner(ForeignLearner):
    """PPO or SAC."""

    def __init__(self, config: RunConfig, kind: str, *, shared: bool) -> None:
        super().__init__(config, kind, shared=shared)
        register_env(NAME, make_recorded_env)
        cells = config.scenario.cells
        self._modules = dict.fromkeys(cells, SHARED) if shared else {cell: cell for cell in cells}
        settings: Any = make_config(kind, config.learning.gamma)
        self._algorithm: Any = (
            settings.environment(NAME, env_config={"config": config})
            .env_runners(num_env_runners=0)
            .multi_agent(
                policies=set(self._modules.values()),
                policy_mapping_fn=lambda agent, *rest, **more: SHARED if shared else agent,
            )
            .debugging(seed=config.seed)
            .build_algo()
        )
        self.network = self._algorithm.env_runner.env.unwrapped.envs[0].unwrapped.par_env

    def train_until(self, step: int) -> None:
        while len(self.network.log) < step:
            self._algorithm.train()

    def choose(self, obs: np.ndarray) -> Actions:
        rows = {}
        for number, (cell, name) in enumerate(self._modules.items()):
            rows.setdefault(name, []).append((number, cell))
        actions = np.zeros((len(obs), self.network.action_size), np.float32)
        for name, own in rows.items():
            module = self._algorithm.get_module(name)
            numbers = [number for number, _ in own]
            with torch.no_grad():
                out = module.forward_inference({"obs": torch.from_numpy(obs[numbers])})
            kind = module.get_inference_action_dist_cls()
            chosen = kind.from_logits(out["action_dist_inputs"]).to_deterministic().sample().numpy()
            space = self.network.action_space(own[0][1])
            actions[numbers] = np.stack([np.asarray(unsquash_action(row, space)) for row in chosen])
        return actions

    def stop(self) -> None:
        self._algorithm.stop()
