"""One environment of an env runner: its last step, its random numbers, and its transitions.

`CellStates` says how each cell acts and learns at the moment.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from slicing_rllib.env import BatchedEnv, BatchedStep, LookaheadEnv
from slicing_rllib.learning.adapters import find_squash, get_infos, offers_state
from slicing_rllib.learning.replay import Transitions, make_transitions
from slicing_rllib.random_streams import (
    CellStreams,
    Stream,
    draw_bounded,
    draw_normal,
    draw_simplex,
)


class SamplingSettings(NamedTuple):
    """How env runners let each cell act in the coming steps."""

    explores: Bool[np.ndarray, " cell"]
    """Cells that act at random."""
    noise_sigma: Float32[np.ndarray, " cell"]
    """Standard deviation of the noise on the other cells' logits."""
    guarded_rows: tuple[int, ...] = ()
    """Rows of cells whose policy is compared with the default action at every step."""


class CellStates:
    """One number per cell for each thing that can be set for a single cell."""

    def __init__(self, cells: Sequence[str], exploration_steps: int, noise_sigma: float) -> None:
        """Every cell explores for `exploration_steps`, then acts with noise of `noise_sigma`."""
        self._row = {cell: row for row, cell in enumerate(cells)}
        n_cells = len(self._row)
        self.exploration_left = np.full(n_cells, exploration_steps)
        """Steps that a cell still decides at random."""
        self.noise_sigma = np.full(n_cells, noise_sigma, np.float32)
        """Standard deviation of the exploration noise on a cell's logits."""
        self.paused = np.zeros(n_cells, bool)
        """Cells that are not updated."""
        self.actor_delay_updates = np.zeros(n_cells, np.int64)
        """Updates for which a cell's actor still stays as it is while its critics learn."""
        self.source_share = np.zeros(n_cells)
        """Share of each batch that comes from other cells' experience in `TD3.source_replay`."""
        self.source_share_decay = np.ones(n_cells)
        """Factor by which that share is multiplied at each update."""
        self.frozen_parameters: dict[str, tuple[str, ...]] = {}
        """By cell, prefixes of the names of parameters that no update changes."""
        self._guarded = np.zeros(n_cells, bool)

    def row(self, cell: str) -> int:
        """A cell's index. Raises: KeyError for an unknown cell."""
        if cell not in self._row:
            raise KeyError(f"no cell {cell!r}, expected one of {', '.join(self._row)}")
        return self._row[cell]

    def sampling_settings(self) -> SamplingSettings:
        """What env runners need to know for the next step."""
        return SamplingSettings(
            self.exploration_left > 0,
            self.noise_sigma.copy(),
            tuple(np.flatnonzero(self._guarded).tolist()),
        )

    def count_exploration(self, decided: Bool[np.ndarray, " cell"]) -> None:
        """Count one step of exploration for the cells whose action it was."""
        self.exploration_left = np.maximum(self.exploration_left - decided, 0)

    def count_update(self) -> None:
        """Count one update: delays shorten and shares of source experience decay."""
        self.actor_delay_updates = np.maximum(self.actor_delay_updates - 1, 0)
        self.source_share *= self.source_share_decay

    def set_guarded(self, cell: str, is_guarded: bool = True) -> None:
        """Start or end the step-by-step comparison of a cell's policy with the default action."""
        self._guarded[self.row(cell)] = is_guarded

    def state(self) -> dict[str, Any]:
        """Copies of all numbers, for a checkpoint."""
        return {name: _copy(value) for name, value in vars(self).items() if name != "_row"}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        for name, value in state.items():
            setattr(self, name, _copy(value))


def _copy(value: Any) -> Any:
    return np.array(value) if isinstance(value, np.ndarray) else dict(value)


class EpisodeReturns:
    """Sums over the steps of one episode, an entry per agent."""

    def __init__(self, n_agents: int) -> None:
        """Zeros; the episode's duration counts from now on."""
        self.reward = np.zeros(n_agents)
        self.agent_steps = np.zeros(n_agents, np.int64)
        self.length = 0
        self._started = time.perf_counter()

    @property
    def duration_s(self) -> float:
        """Seconds since the episode began, or since it was restored."""
        return time.perf_counter() - self._started

    def add(self, batched: BatchedStep) -> None:
        """Add one step."""
        self.reward += batched.reward
        self.agent_steps += batched.live
        self.length += 1

    def state(self) -> dict[str, Any]:
        """Copies of the sums, for a checkpoint."""
        return {
            "reward": self.reward.copy(),
            "agent_steps": self.agent_steps.copy(),
            "length": self.length,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        self.reward = np.array(state["reward"])
        self.agent_steps = np.array(state["agent_steps"])
        self.length = int(state["length"])


RESTART_KEY = 2
"""Part of the key of seeds with which an environment is reset after a restart without its state."""


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

    def env_steps(self) -> int:
        """One, as RLlib counts it when it evaluates."""
        return 1

    def agent_steps(self) -> int:
        """Number of cells that took part."""
        return int(self.live.sum())


class SampledEnv:
    """An environment that starts the next episode by itself when one has ended."""

    def __init__(self, env: BatchedEnv, seed: np.random.SeedSequence) -> None:
        """`seed` gives the environment's seed and that of exploration."""
        self.env = env
        self._seed = seed
        self._env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
        shape = (env.action_size,)
        draw = draw_bounded if find_squash(env) == "tanh" else draw_simplex
        self._explore = CellStreams(noise_seed, Stream.EXPLORE, env.cells, shape, draw)
        self._noise = CellStreams(noise_seed, Stream.NOISE, env.cells, shape, draw_normal)
        self.steps = 0
        """Network steps since the start."""
        self.episodes = 0
        self.returns = EpisodeReturns(len(env.cells))
        """Of the episode under way, or of the one that the last step ended."""
        self.over = False
        """Whether the last step ended an episode; `batched` is then that of the next reset."""
        self.infos: Mapping[Any, Any] = {}
        """What the environment said beside the last step; that of a reset is in the environment."""
        self._batched: BatchedStep | None = None

    @property
    def batched(self) -> BatchedStep:
        """The last step, or that of the reset. Raises: RuntimeError before `start`."""
        if self._batched is None:
            raise RuntimeError("SampledEnv: start() comes before the first step")
        return self._batched

    @property
    def is_started(self) -> bool:
        """Whether an episode is under way."""
        return self._batched is not None

    def start(self) -> None:
        """Reset the environment with its seed, unless it has been started already."""
        if self._batched is None:
            self._batched = self.env.reset_batched(self._derive_env_seed())
            self.returns = EpisodeReturns(len(self.env.cells))

    def abandon_episode(self) -> None:
        """Let the next `start` reset the environment with its first seed, for an evaluation."""
        self._batched, self.steps = None, 0

    def replace_env(self, env: BatchedEnv) -> None:
        """Go on with another environment in place of one that failed."""
        self.env, self._batched, self.over = env, None, False

    def noise(self, settings: SamplingSettings) -> np.ndarray:
        """Noise on this step's logits, (cell, action)."""
        return settings.noise_sigma[:, None] * self._noise.at(self.steps)

    def add_exploration(self, action: np.ndarray, settings: SamplingSettings) -> np.ndarray:
        """A copy of this step's action with random rows for cells that explore."""
        if not settings.explores.any():
            return action
        return np.where(settings.explores[:, None], self.random_action(), action)

    def random_action(self) -> np.ndarray:
        """Random shares, or bounded actions, for this step, (cell, action)."""
        return self._explore.at(self.steps)

    def step(
        self, action: np.ndarray, plain: np.ndarray | None, guarded_rows: tuple[int, ...]
    ) -> tuple[Step, BatchedStep]:
        """One network step. `plain` is the action without noise, needed where a cell is guarded."""
        before = self.batched
        if self.over:
            self.returns = EpisodeReturns(len(self.env.cells))
        advantage = self._compute_advantage(before, action, plain, guarded_rows)
        after = self.env.step_batched(action)
        self.infos = get_infos(self.env)
        self.steps += 1
        self.returns.add(after)
        # A cell that was done and is back has begun anew: nothing leads from one to the other.
        present = before.live & after.live & ~(before.terminated | before.truncated)
        transitions = make_transitions(before, after)
        done = after.terminated | after.truncated
        self.over = bool(done[after.live].all())
        self.episodes += self.over
        self._batched = self.env.reset_batched() if self.over else after
        step = Step(transitions, present, after.live, present & before.controlled, advantage)
        return step, after

    def refresh_controlled(self) -> None:
        """Read again which cells their policies control, after a phase was set by hand."""
        env: Any = self.env
        if self._batched is not None:
            self._batched = self._batched._replace(controlled=env.controlled)

    def state(self) -> dict[str, Any]:
        """All that a continuation needs, for a checkpoint: bit-exact if the env offers its state.

        Without that state, a restored environment is reset.
        """
        is_kept = self._batched is not None and offers_state(self.env)
        env: Any = self.env
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "over": self.over,
            "env": env.state() if is_kept else None,
            "batched": self.batched._asdict() if is_kept else None,
            "returns": self.returns.state() if is_kept else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        if state["env"] is None:
            self._batched, self.over = None, False
            return
        env: Any = self.env
        env.restore(state["env"])
        self._batched = BatchedStep(**state["batched"])
        self.over = bool(state["over"])
        self.returns = EpisodeReturns(len(self.env.cells))
        self.returns.restore(state["returns"])

    def _derive_env_seed(self) -> int:
        """The first seed; after a restart without the environment's state, one of its own."""
        if not self.steps:
            return self._env_seed
        key = (*self._seed.spawn_key, 0, RESTART_KEY, self.steps)
        seed = np.random.SeedSequence(self._seed.entropy, spawn_key=key)
        return int(seed.generate_state(1)[0])

    def _compute_advantage(
        self,
        before: BatchedStep,
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
