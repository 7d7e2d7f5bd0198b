"""One environment of an env runner: its last step, its random numbers, and its transitions.

`CellStates` says how each cell acts and learns at the moment.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from slicing_rllib.env import BatchedEnv, BatchedStep, LookaheadEnv
from slicing_rllib.learning.adapters import AdaptedEnv, find_agents, offers_state
from slicing_rllib.learning.replay import Transitions, make_transitions
from slicing_rllib.random_streams import (
    CellStreams,
    Stream,
    draw_bounded,
    draw_normal,
    draw_simplex,
)

RESTART_KEY = 2
"""Part of the key of seeds with which an environment is reset after a restart without its state."""


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
        guarded = tuple(np.flatnonzero(self._guarded).tolist())
        return SamplingSettings(self.exploration_left > 0, self.noise_sigma.copy(), guarded)

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
        return copy.deepcopy({name: own for name, own in vars(self).items() if name != "_row"})

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(copy.deepcopy(dict(state)))


class EpisodeReturns(NamedTuple):
    """Sums over the steps of one episode, from which its metrics are computed."""

    reward: np.ndarray
    """Per agent."""
    agent_steps: np.ndarray
    """Per agent, the steps in which it was live."""
    length: int
    started: float
    """When the episode began, or was restored, on the clock of `time.perf_counter`."""


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
        self.ids, self.spaces = find_agents(env)
        self._seed = seed
        self._env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
        shape = (env.action_size,)
        draw = draw_simplex if self.spaces[0].squash == "softmax" else draw_bounded
        self.explore = CellStreams(noise_seed, Stream.EXPLORE, env.cells, shape, draw)
        """Random shares, or bounded actions, of each step."""
        self.noise = CellStreams(noise_seed, Stream.NOISE, env.cells, shape, draw_normal)
        """Standard normal numbers of each step."""
        self.steps = 0
        """Network steps since the start."""
        self.episodes = 0
        """Episodes that have ended."""
        self.returns = self._begin_returns()
        """Of the episode under way, or of the one that the last step ended."""
        self.over = False
        """Whether the last step ended an episode; `batched` is then that of the next reset."""
        self.infos: Mapping[Any, Any] = {}
        """What the environment said beside the last step, or the reset before the first one."""
        self._batched: BatchedStep | None = None

    @property
    def batched(self) -> BatchedStep:
        """The last step, or that of the reset. Raises: RuntimeError before `start`."""
        if self._batched is None:
            raise RuntimeError("SampledEnv: start() comes before the first step")
        return self._batched

    def start(self) -> None:
        """Reset the environment with its seed, unless it has been started already."""
        if self._batched is not None:
            return
        seed = self._env_seed
        if self.steps:
            # After a restart without the environment's state: traffic that was not seen before.
            key = (*self._seed.spawn_key, 0, RESTART_KEY, self.steps)
            own = np.random.SeedSequence(self._seed.entropy, spawn_key=key)
            seed = int(own.generate_state(1)[0])
        self._batched = self.env.reset_batched(seed)
        self.returns = self._begin_returns()

    def abandon_episode(self) -> None:
        """Let the next `start` reset the environment with its first seed, for an evaluation."""
        self._batched, self.steps = None, 0

    def replace_env(self, env: BatchedEnv) -> None:
        """Go on with another environment in place of one that failed."""
        self.env, self._batched, self.over = env, None, False

    def read_infos(self) -> Mapping[Any, Any]:
        """What the environment said beside its last step or reset, by its own name of agents."""
        return self.env.infos if isinstance(self.env, AdaptedEnv) else {}

    def step(
        self, action: np.ndarray, plain: np.ndarray | None, guarded_rows: tuple[int, ...]
    ) -> tuple[Step, BatchedStep]:
        """One network step. `plain` is the action without noise, needed where a cell is guarded."""
        before = self.batched
        if self.over:
            self.returns = self._begin_returns()
        advantage = np.full(len(self.env.cells), np.nan, np.float32)
        if plain is not None and isinstance(self.env, LookaheadEnv):
            for row in guarded_rows:
                if before.controlled[row]:
                    own, default = action.copy(), action.copy()
                    own[row], default[row] = plain[row], 1.0
                    rewards = [self.env.compute_rewards(joint)[row] for joint in (own, default)]
                    advantage[row] = rewards[0] - rewards[1]
        after = self.env.step_batched(action)
        self.infos = self.read_infos()
        self.steps += 1
        reward, agent_steps, length, started = self.returns
        self.returns = EpisodeReturns(
            reward + after.reward, agent_steps + after.live, length + 1, started
        )
        # A cell that was done and is back has begun anew: nothing leads from one to the other.
        present = before.live & after.live & ~(before.terminated | before.truncated)
        transitions = make_transitions(before, after)
        done = after.terminated | after.truncated
        self.over = bool(done[after.live].all())
        self.episodes += self.over
        self._batched = self.env.reset_batched() if self.over else after
        step = Step(transitions, present, after.live, present & before.controlled, advantage)
        return step, after

    def set_phase(self, cell: str, phase: int) -> None:
        """Switch a cell off, to the default action or to its policy, from the next step on."""
        env: Any = self.env
        env.set_phase(cell, phase)
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
            "env": env.checkpoint_state() if is_kept else None,
            "batched": self.batched._asdict() if is_kept else None,
            "returns": self.returns._asdict() if is_kept else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        if state["env"] is None:
            self._batched, self.over = None, False
            return
        env: Any = self.env
        env.restore_state(state["env"])
        self._batched, self.over = BatchedStep(**state["batched"]), bool(state["over"])
        self.returns = EpisodeReturns(**state["returns"] | {"started": time.perf_counter()})

    def _begin_returns(self) -> EpisodeReturns:
        n_agents = len(self.env.cells)
        sums = np.zeros(n_agents), np.zeros(n_agents, np.int64)
        return EpisodeReturns(*sums, 0, time.perf_counter())
