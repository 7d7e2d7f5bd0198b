"""Parallel environments of PettingZoo and RLlib as batched ones."""

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.adapters import make_batched
from slicing_rllib.learning.rl_module import SpaceError
from slicing_rllib.learning.sampled_env import SampledEnv
from slicing_rllib.radio import make_scenario


class Late(ParallelEnv):
    """Agent b_10 comes at the second step; agents are listed in no order."""

    metadata = {"name": "late"}  # noqa: RUF012
    possible_agents = ["b_10", "b_9", "a_1"]  # noqa: RUF012

    def observation_space(self, agent):
        return spaces.Box(0, 9, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Box(0, 1, (2,), np.float32)

    def reset(self, seed=None, options=None):
        self.agents = ["b_9", "a_1"]
        return self._obs(), {}

    def step(self, actions):
        assert list(actions) == [cell for cell in ("a_1", "b_9", "b_10") if cell in self.agents]
        rewards = {cell: float(action[0]) for cell, action in actions.items()}
        self.agents = ["b_10", "b_9", "a_1"]
        return self._obs(), rewards, {}, {}, {}

    def _obs(self):
        return {cell: np.array([int(cell[2:])], np.float32) for cell in self.agents}


def test_agents_are_in_natural_order():
    assert make_batched(Late()).cells == ("a_1", "b_9", "b_10")


def test_an_agent_joins():
    env = make_batched(Late())
    first = env.reset_batched(0)
    second = env.step_batched(np.full((3, 2), 0.5, np.float32))

    assert first.live.tolist() == [True, True, False]
    assert first.obs[:, 0].tolist() == [1, 9, 0]
    assert second.live.tolist() == [True, True, True]
    assert second.reward.tolist() == [0.5, 0.5, 0.0]


class Ends(Late):
    """Both agents end at the first step, one of them without a last observation."""

    ends = "terminated"

    def step(self, actions):
        self.agents = []
        flags = dict.fromkeys(("b_9", "a_1"), True)
        obs = {"a_1": np.array([5], np.float32)}
        terminated, truncated = (flags, {}) if self.ends == "terminated" else ({}, flags)
        return obs, dict.fromkeys(flags, 1.0), terminated, truncated, {}


def test_the_last_reward_counts_without_a_last_observation():
    """The observation before stands in for it: nothing is bootstrapped from it."""
    env = make_batched(Ends())
    env.reset_batched(0)
    last = env.step_batched(np.full((3, 2), 0.5, np.float32))

    assert last.live.tolist() == [True, True, False]
    assert last.reward.tolist() == [1, 1, 0]
    assert last.terminated.tolist() == [True, True, False]
    assert last.obs[:, 0].tolist() == [5, 9, 0]
    assert not last.controlled.any()


def test_a_truncated_agent_needs_a_last_observation():
    """Its value is bootstrapped from it."""
    env = make_batched(Ends())
    env.unwrapped.ends = "truncated"
    env.reset_batched(0)

    with pytest.raises(
        SpaceError, match="agent b_9: no observation after a step in which it acted"
    ):
        env.step_batched(np.full((3, 2), 0.5, np.float32))


class Numbered(MultiAgentEnv):
    """RLlib's kind: agents 0 and 1, and one word for everyone at the end."""

    possible_agents = [1, 0]  # noqa: RUF012
    observation_spaces = dict.fromkeys(possible_agents, spaces.Box(-1, 1, (1,), np.float32))
    action_spaces = dict.fromkeys(possible_agents, spaces.Box(0, 10, (1,), np.float32))

    def reset(self, *, seed=None, options=None):
        return {agent: np.zeros(1, np.float32) for agent in self.possible_agents}, {}

    def step(self, actions):
        self.given = actions
        obs = {agent: np.ones(1, np.float32) for agent in self.possible_agents}
        rewards = {0: 1.0, 1: 2.0}
        return obs, rewards, {"__all__": True}, {"__all__": False}, {0: {"note": 7}}


def test_an_environment_of_rllib_ends_for_all_agents_at_once():
    env = make_batched(Numbered())
    env.reset_batched(0)
    last = env.step_batched(np.array([[-1.0], [0.0]], np.float32))

    assert {agent: action.tolist() for agent, action in env.unwrapped.given.items()} == {
        0: [0],
        1: [5],
    }
    assert last.reward.tolist() == [1, 2]
    assert last.terminated.all()
    assert not last.truncated.any()
    assert env.infos == {0: {"note": 7}}


class Respawn(Late):
    """Agent a_1 ends at every step and is back at the next one."""

    def reset(self, seed=None, options=None):
        self.agents = ["a_1", "b_9"]
        return self._obs(), {}

    def step(self, actions):
        return self._obs(), dict.fromkeys(self.agents, 1.0), {"a_1": True}, {}, {}


def test_nothing_leads_from_an_end_to_a_new_beginning():
    """Steps count for the agent that goes on, and once for the one that ended."""
    sampled = SampledEnv(make_batched(Respawn()), np.random.SeedSequence(0))
    sampled.start()
    action = np.full((3, 2), 0.5, np.float32)
    present = [sampled.step(action, None, ())[0].present.tolist() for _ in range(3)]

    assert present == [[True, True, False], [False, True, False], [False, True, False]]


def test_a_batched_environment_is_left_as_it_is():
    env = SlicingEnv(make_scenario("paper"))

    assert make_batched(env) is env


def test_other_spaces_for_some_are_refused():
    class Uneven(Late):
        def action_space(self, agent):
            return spaces.Box(0, 1, (len(agent),), np.float32)

    with pytest.raises(ValueError, match="agents a_1 and b_10: expected equal spaces for all"):
        make_batched(Uneven())
