"""One environment of an env runner: its last step, its random numbers, and its transitions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from slicing_rllib.env import ColumnarEnv, LookaheadEnv, StepColumns
from slicing_rllib.learning.cell_state import SamplingSettings
from slicing_rllib.learning.random_streams import CellStreams, Purpose, draw_normal, draw_simplex
from slicing_rllib.learning.replay import Transitions, make_transitions


class Step(NamedTuple):
    """What one network step adds to the cells' experience."""

    transitions: Transitions
    present: Bool[np.ndarray, " cell"]
    """Cells whose transition is valid: they were live before the step and after it."""
    live: Bool[np.ndarray, " cell"]
    """Cells that took part in the step."""
    decided: Bool[np.ndarray, " cell"]
    """Cells whose own policy, or exploration, chose this step's action."""
    advantage: Float32[np.ndarray, " cell"]
    """Guarded cells: the policy's reward without noise − the default action's; NaN elsewhere."""


class ColumnarEpisode:
    """The episode that RLlib's callbacks are given: the whole network's, all cells at once."""

    def __init__(self, number: int, columns: StepColumns, cells: tuple[str, ...]) -> None:
        """`number` counts the environment's episodes; `columns` are those of the reset."""
        self.id_ = str(number)
        self.agent_ids = cells
        self.columns = columns
        """The last step, a row per cell."""
        self.env_t = 0
        self._reward = np.zeros(len(cells))

    def __len__(self) -> int:
        return self.env_t

    def add(self, columns: StepColumns) -> None:
        """Append a step."""
        self.columns = columns
        self.env_t += 1
        self._reward += columns.reward

    def get_return(self) -> float:
        """The sum of all cells' rewards so far."""
        return float(self._reward.sum())

    def get_agent_returns(self) -> dict[str, float]:
        """Each cell's sum of rewards so far."""
        return dict(zip(self.agent_ids, self._reward.tolist(), strict=True))


class SampledEnv:
    """An environment that starts the next episode by itself when one has ended."""

    def __init__(self, env: ColumnarEnv, seed: np.random.SeedSequence) -> None:
        """`seed` gives the environment's seed and that of exploration."""
        self.env = env
        self._env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
        shape = (env.action_size,)
        self._explore = CellStreams(noise_seed, Purpose.EXPLORE, env.cells, shape, draw_simplex)
        self._noise = CellStreams(noise_seed, Purpose.NOISE, env.cells, shape, draw_normal)
        self.steps = 0
        """Network steps since the start."""
        self.episodes = 0
        self.over = False
        """Whether the last step ended an episode; `columns` are then those of the next reset."""
        self._columns: StepColumns | None = None

    @property
    def columns(self) -> StepColumns:
        """The last step, or that of the reset. Raises: RuntimeError before `start`."""
        if self._columns is None:
            raise RuntimeError("SampledEnv: start() comes before the first step")
        return self._columns

    def start(self) -> None:
        """Reset the environment with its seed, unless it has been started already."""
        if self._columns is None:
            self._columns = self.env.reset_columns(self._env_seed)

    def noise(self, settings: SamplingSettings) -> np.ndarray:
        """Noise on this step's logits, (cell, action)."""
        return settings.noise_sigma[:, None] * self._noise.at(self.steps)

    def add_exploration(self, action: np.ndarray, settings: SamplingSettings) -> np.ndarray:
        """A copy of this step's action with random rows for cells that explore."""
        if not settings.explores.any():
            return action
        return np.where(settings.explores[:, None], self.random_action(), action)

    def random_action(self) -> np.ndarray:
        """Random shares for this step, (cell, action)."""
        return self._explore.at(self.steps)

    def step(
        self, action: np.ndarray, plain: np.ndarray | None, guarded_rows: tuple[int, ...]
    ) -> tuple[Step, StepColumns]:
        """One network step. `plain` is the action without noise, needed where a cell is guarded."""
        before = self.columns
        advantage = self._compute_advantage(before, action, plain, guarded_rows)
        after = self.env.step_columns(action)
        self.steps += 1
        present = before.live & after.live
        transitions = make_transitions(before, after)
        done = after.terminated | after.truncated
        self.over = bool(done[after.live].all())
        self.episodes += self.over
        self._columns = self.env.reset_columns() if self.over else after
        step = Step(transitions, present, after.live, present & before.controlled, advantage)
        return step, after

    def refresh_controlled(self) -> None:
        """Read again which cells their policies control, after a phase was set by hand."""
        env: Any = self.env
        if self._columns is not None:
            self._columns = self._columns._replace(controlled=env.controlled)

    def state(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs, for a checkpoint."""
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "env": None if self._columns is None else self.env.state(),
            "columns": None if self._columns is None else self._columns._asdict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        if state["env"] is not None:
            self.env.restore(state["env"])
            self._columns = StepColumns(**state["columns"])

    def _compute_advantage(
        self,
        before: StepColumns,
        action: np.ndarray,
        plain: np.ndarray | None,
        guarded_rows: tuple[int, ...],
    ) -> np.ndarray:
        """Each guarded cell's reward in the coming step − that of the default action."""
        advantage = np.full(len(self.env.cells), np.nan, np.float32)
        if plain is None or not isinstance(self.env, LookaheadEnv):
            return advantage
        for row in guarded_rows:
            if before.controlled[row]:
                own, default = action.copy(), action.copy()
                own[row], default[row] = plain[row], 1.0
                rewards = [self.env.compute_rewards(joint)[row] for joint in (own, default)]
                advantage[row] = rewards[0] - rewards[1]
        return advantage
