"""Any parallel environment, column by column."""

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.env_creation import make_columnar
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
    assert make_columnar(Late()).cells == ("a_1", "b_9", "b_10")


def test_an_agent_joins():
    env = make_columnar(Late())
    first = env.reset_columns(0)
    second = env.step_columns(np.full((3, 2), 0.5, np.float32))

    assert first.live.tolist() == [True, True, False]
    assert first.obs[:, 0].tolist() == [1, 9, 0]
    assert second.live.tolist() == [True, True, True]
    assert second.reward.tolist() == [0.5, 0.5, 0.0]


def test_a_columnar_environment_is_left_as_it_is():
    env = SlicingEnv(make_scenario("paper"))

    assert make_columnar(env) is env


def test_other_spaces_for_some_are_refused():
    class Uneven(Late):
        def action_space(self, agent):
            return spaces.Box(0, 1, (len(agent),), np.float32)

    with pytest.raises(ValueError, match="agents a_1 and b_10: expected equal spaces for all"):
        make_columnar(Uneven())
