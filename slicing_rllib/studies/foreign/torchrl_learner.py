"""MAPPO of TorchRL: actors of cells see their observations, the critic those of all cells."""

from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.modules import MultiAgentMLP, ProbabilisticActor, TanhNormal
from torchrl.objectives import ClipPPOLoss, ValueEstimators

from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.studies.foreign.recorded_network import (
    Actions,
    ForeignLearner,
    RecordedNetwork,
)

STEPS, EPOCHS, MINIBATCH = 250, 10, 125
"""Network steps per update, passes over them, and network steps of a gradient step."""
LEARNING_RATE, CLIP, ENTROPY, LAMBDA = 3e-4, 0.2, 1e-3, 0.95
WIDTH = 64


class TorchrlLearner(ForeignLearner):
    """MAPPO."""

    def __init__(self, config: RunConfig, kind: str, *, shared: bool) -> None:
        super().__init__(config, kind, shared=shared)
        torch.manual_seed(config.seed)
        self.network = RecordedNetwork(config)
        self._obs = self.network.reset_batched(config.seed).obs
        n_cells, n_slices = len(self.network.cells), self.network.action_size

        def make_network(outputs: int, *, centralised: bool, share: bool) -> MultiAgentMLP:
            return MultiAgentMLP(
                self.network.obs_size, outputs, n_cells, centralised=centralised,
                share_params=share, depth=2, num_cells=WIDTH, activation_class=nn.Tanh,
            )  # fmt: skip

        actor = nn.Sequential(
            make_network(2 * n_slices, centralised=False, share=shared), NormalParamExtractor()
        )
        self._actor = ProbabilisticActor(
            TensorDictModule(actor, in_keys=["observation"], out_keys=["loc", "scale"]),
            in_keys=["loc", "scale"],
            distribution_class=TanhNormal,
            distribution_kwargs={"low": 0.0, "high": 1.0},
            return_log_prob=True,
        )
        critic = TensorDictModule(
            make_network(1, centralised=True, share=True),
            in_keys=["observation"], out_keys=["state_value"],
        )  # fmt: skip
        self._loss = ClipPPOLoss(self._actor, critic, clip_epsilon=CLIP, entropy_coeff=ENTROPY)
        gamma = config.learning.gamma
        self._loss.make_value_estimator(ValueEstimators.GAE, gamma=gamma, lmbda=LAMBDA)
        self._optimiser = torch.optim.Adam(self._loss.parameters(), LEARNING_RATE)

    def train_until(self, step: int) -> None:
        while (left := step - len(self.network.log)) > 0:
            self._update(torch.stack([self._step() for _ in range(min(left, STEPS))]))

    def _step(self) -> TensorDict:
        data = TensorDict({"observation": torch.from_numpy(self._obs)})
        with torch.no_grad():
            data = self._actor(data)
        batched = self.network.step_on(data["action"].numpy())
        self._obs = batched.obs
        over = torch.from_numpy(batched.truncated)[:, None]
        data["next"] = TensorDict(
            {
                "observation": torch.from_numpy(self._obs),
                "reward": torch.from_numpy(batched.reward)[:, None],
                "done": over,
                "terminated": torch.zeros_like(over),
            }
        )
        return data

    def _update(self, data: Any) -> None:
        with torch.no_grad():
            self._loss.value_estimator(data)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(data)).split(MINIBATCH):
                losses = self._loss(data[rows])
                total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                self._optimiser.zero_grad()
                total.backward()
                nn.utils.clip_grad_norm_(self._loss.parameters(), 1.0)
                self._optimiser.step()

    def choose(self, obs: np.ndarray) -> Actions:
        data = TensorDict({"observation": torch.from_numpy(obs)})
        with torch.no_grad():
            chosen: Any = self._actor.get_dist(data)
            centre = chosen.deterministic_sample
        return centre.numpy().astype(np.float32)
