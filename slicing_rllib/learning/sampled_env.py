"""One environment of a runner: where it stands, its random numbers, and what a step adds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from slicing_rllib.env import ColumnarEnv, Counterfactual, StepColumns
from slicing_rllib.learning.cell_state import SamplingSettings
from slicing_rllib.learning.random_streams import CellStreams, Purpose, flat_dirichlet, normal
from slicing_rllib.learning.replay import Transitions


class Step(NamedTuple):
    """What one network step adds to experience."""

    transitions: Transitions
    present: Bool[np.ndarray, " cell"]
    """Cells whose transition is real: there before the step and after it."""
    live: Bool[np.ndarray, " cell"]
    decided: Bool[np.ndarray, " cell"]
    """Cells whose own policy, or exploration, made this step's action."""
    advantage: Float32[np.ndarray, " cell"]
    """Of guarded_rows cells: the policy's reward without noise less the default action's; else NaN."""


class ColumnarEpisode:
    """What RLlib's episode callbacks are given: the network's episode so far, all cells at once."""

    def __init__(self, number: int, columns: StepColumns, cells: tuple[str, ...]) -> None:
        self.id_ = str(number)
        self.agent_ids = cells
        self.columns = columns
        """The last step: obs, reward, action, terminated, truncated, live, by cell."""
        self.env_t = 0
        self._reward = np.zeros(len(cells))

    def __len__(self) -> int:
        return self.env_t

    def add(self, columns: StepColumns) -> None:
        self.columns = columns
        self.env_t += 1
        self._reward += columns.reward

    def get_return(self) -> float:
        """Sum of all cells' rewards so far."""
        return float(self._reward.sum())

    def get_agent_returns(self) -> dict[str, float]:
        """Of each cell."""
        return dict(zip(self.agent_ids, self._reward.tolist(), strict=True))


class SampledEnv:
    """An environment that is stepped with everybody's actions; episodes follow each other."""

    def __init__(self, env: ColumnarEnv, seed: np.random.SeedSequence) -> None:
        self.env = env
        self._env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
        shape = (env.action_size,)
        self._explore = CellStreams(noise_seed, Purpose.EXPLORE, env.cells, shape, flat_dirichlet)
        self._noise = CellStreams(noise_seed, Purpose.NOISE, env.cells, shape, normal)
        self.steps = 0
        """Network steps since the start."""
        self.episodes = 0
        self.over = False
        """The last step ended an episode: `columns` already begin the next."""
        self._columns: StepColumns | None = None

    @property
    def columns(self) -> StepColumns:
        """The last step; the first call starts the environment."""
        if self._columns is None:
            self._columns = self.env.reset_columns(self._env_seed)
        return self._columns

    def noise(self, orders: SamplingSettings) -> np.ndarray:
        """Of the logits of this step (cell, action)."""
        return orders.noise_sigma[:, None] * self._noise.at(self.steps)

    def explored(self, action: np.ndarray, orders: SamplingSettings) -> np.ndarray:
        """The action of this step, at random where a cell explores."""
        if orders.explores.any():
            action[orders.explores] = self._explore.at(self.steps)[orders.explores]
        return action

    def random_action(self) -> np.ndarray:
        return self._explore.at(self.steps)

    def step(
        self, action: np.ndarray, plain: np.ndarray | None, guarded_rows: tuple[int, ...]
    ) -> tuple[Step, StepColumns]:
        """One network step. `plain` is what the policies do without noise, where it is known."""
        before = self.columns
        advantage = self._advantage(before, action, plain, guarded_rows)
        after = self.env.step_columns(action)
        self.steps += 1
        present = before.live & after.live
        transitions = Transitions(
            before.obs,
            after.action,
            after.reward,
            after.obs,
            after.terminated.astype(np.float32),
            after.outcome,
        )
        done = after.terminated | after.truncated
        self.over = bool(done[after.live].all())
        self.episodes += self.over
        self._columns = self.env.reset_columns() if self.over else after
        step = Step(transitions, present, after.live, present & before.controlled, advantage)
        return step, after

    def refresh_controlled(self) -> None:
        """After somebody switched a cell's phase by hand."""
        env: Any = self.env
        if self._columns is not None:
            self._columns = self._columns._replace(controlled=env.controlled)

    def state(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs."""
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "env": None if self._columns is None else self.env.state(),
            "columns": None if self._columns is None else self._columns._asdict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        if state["env"] is not None:
            self.env.restore(state["env"])
            self._columns = StepColumns(**state["columns"])

    def _advantage(
        self,
        before: StepColumns,
        action: np.ndarray,
        plain: np.ndarray | None,
        guarded_rows: tuple[int, ...],
    ) -> np.ndarray:
        """What a guarded_rows cell's policy gets in the coming step that the default would not."""
        advantage = np.full(len(self.env.cells), np.nan, np.float32)
        if plain is None or not isinstance(self.env, Counterfactual):
            return advantage
        for row in guarded_rows:
            if before.controlled[row]:
                own, default = action.copy(), action.copy()
                own[row], default[row] = plain[row], 1.0
                rewards = [self.env.rewards_if(joint)[row] for joint in (own, default)]
                advantage[row] = rewards[0] - rewards[1]
        return advantage
