"""The network as foreign learners train on it: it notes the service of each step."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from slicing_rllib.env import BatchedStep, DecisionView, SlicingEnv, satisfaction
from slicing_rllib.evaluation.statistics import SATISFIED
from slicing_rllib.runs.run_config import RunConfig

Actions = Float32[np.ndarray, "cell number"]


class RecordedNetwork(SlicingEnv):
    """The network of a run."""

    def __init__(self, config: RunConfig, action: str = "weights") -> None:
        super().__init__(**config.env_arguments, action=action, default_seed=config.seed)
        self.log: list[tuple[float, float]] = []
        """Mean reward and share of failing cells of every step so far."""

    def step_batched(self, action: Float32[np.ndarray, "cell action"]) -> BatchedStep:
        batched = super().step_batched(action)
        satisfied = satisfaction(self.kpis.throughput_mbps, self.scenario.sla_throughput_mbps)
        failing = float((satisfied < SATISFIED).mean())
        self.log.append((float(batched.reward.mean()), failing))
        return batched

    def decode(self, actions: Actions) -> Float32[np.ndarray, "cell weight"]:
        """The weight of each slice for actions of the environment's kind."""
        rows: list[Any] = [self.action_kind.decode(row) for row in actions]
        return np.stack(rows)

    def step_on(self, actions: Actions) -> BatchedStep:
        """One slicing interval; an episode that is over is followed by the next one."""
        batched = self.step_batched(self.decode(actions))
        if batched.truncated.all():
            return batched._replace(obs=self.reset_batched().obs)
        return batched


class ForeignLearner:
    """What an arm needs of a learner: it trains up to a step, and says what its policies choose."""

    def __init__(self, config: RunConfig, kind: str, *, shared: bool) -> None:
        """`kind` is the learner's name in its library; `shared`: one policy for all cells."""
        self.config, self.kind, self.shared = config, kind, shared
        self.network: RecordedNetwork

    def train_until(self, step: int) -> None:
        """Trains until the network has made so many steps in all, or a few more."""
        raise NotImplementedError

    def choose(self, obs: Float32[np.ndarray, "cell observation"]) -> Actions:
        """The action of every cell, without exploration."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends threads and processes of the learner."""

    def prb_ratio(self, view: DecisionView) -> Any:
        """As `Policy` of `slicing_rllib.env`."""
        # Zeros alone are equal shares.
        weights = self.network.decode(self.choose(view.obs)).astype(np.float64) + 1e-9
        return weights / weights.sum(axis=1, keepdims=True)
