"""Environments by name, class or path, of every kind that RLlib's users have; rows of agents."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from mpe2 import simple_spread_v3
from pettingzoo import AECEnv, ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from ray.tune.registry import register_env

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3Config
from slicing_rllib.learning.adapters import create_env, make_batched
from slicing_rllib.learning.rl_module import SpaceError
from slicing_rllib.learning.sampled_env import SampledEnv
from slicing_rllib.radio import make_scenario


class Single(gymnasium.Env):
    """What RLlib's users write: a class that is given its whole config."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-3, 3, (1,), np.float32)

    def __init__(self, config=None):
        self.config = config

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


class Parallel(ParallelEnv):
    """A parallel environment whose class is given its whole config."""

    metadata = {"name": "parallel"}  # noqa: RUF012
    possible_agents = ("b", "a")

    def __init__(self, config):
        self.config = config
        self.agents = []

    def observation_space(self, agent):
        return Single.observation_space

    def action_space(self, agent):
        return Single.action_space


class Numbered(MultiAgentEnv):
    """RLlib's own kind, with integers as names of agents."""

    possible_agents = [10, 9]  # noqa: RUF012
    observation_spaces = dict.fromkeys(possible_agents, Single.observation_space)
    action_spaces = dict.fromkeys(possible_agents, Single.action_space)

    def __init__(self, config=None):
        super().__init__()


def create(env, **env_config):
    return create_env(TD3Config().environment(env, env_config=env_config), 3, 0)[0]


def test_a_gymnasium_id_with_arguments():
    env = create("Pendulum-v1", g=1.5)

    assert env.cells == ("default_agent",)
    assert env.unwrapped.unwrapped.g == 1.5


def test_a_gymnasium_class_is_given_its_config():
    env = create(Single, size=7)

    assert env.unwrapped.config["size"] == 7
    assert env.unwrapped.config.worker_index == 3


def test_a_parallel_class_is_given_its_config_or_its_keywords():
    as_config, by_keyword = create(Parallel, size=7), create(Parallel, config="all")

    assert as_config.unwrapped.config["size"] == 7
    assert by_keyword.unwrapped.config == "all"
    assert as_config.cells == ("a", "b")


def test_our_own_class_is_given_keywords():
    assert len(create(SlicingEnv, scenario=make_scenario("paper")).cells) == 12


def test_keywords_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"env_config of SlicingEnv: .*'scenario'.*got scenari$"):
        create(SlicingEnv, scenari=1)


def test_a_registered_name():
    register_env("mine", lambda config: Single(config))

    assert create("mine", size=2).unwrapped.config["size"] == 2


def test_an_unknown_name_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^environment 'Pendulam-v1': not found; expected[^\n]*$"):
        create("Pendulam-v1")


def test_integer_agents_are_named_by_their_digits_in_natural_order():
    env = create(Numbered)

    assert env.cells == ("9", "10")
    assert env.ids == {"9": 9, "10": 10}


def test_wrappers_of_rllib_are_taken_off():
    """Under them agents have no fixed order, and some episodes never end."""
    parallel = simple_spread_v3.parallel_env(continuous_actions=True)
    wrapped = make_batched(ParallelPettingZooEnv(parallel))
    in_turn = PettingZooEnv(simple_spread_v3.env(continuous_actions=True))

    assert wrapped.unwrapped is parallel
    assert make_batched(in_turn).cells == wrapped.cells == ("agent_0", "agent_1", "agent_2")


def test_agents_that_act_in_turn_are_refused_unless_they_can_act_together():
    class Turns(AECEnv):
        metadata = {"name": "turns", "is_parallelizable": False}  # noqa: RUF012

        def __init__(self):
            pass

    with pytest.raises(ValueError, match="its agents act in turn, expected a parallel env"):
        make_batched(Turns())


@pytest.mark.parametrize("env", [object(), None, "text"])
def test_anything_else_is_refused(env):
    with pytest.raises(ValueError, match=r"^environment of type .*: expected an environment of"):
        make_batched(env)


def test_discrete_actions_are_refused_with_agent_and_space():
    with pytest.raises(ValueError, match=r"agent default_agent: action space Discrete\(2\)"):
        create("CartPole-v1")


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


def test_the_last_step_of_a_truncated_agent_without_a_last_observation_is_no_experience():
    """Its value would be bootstrapped from that observation."""
    env = make_batched(Ends())
    env.unwrapped.ends = "truncated"
    env.reset_batched(0)
    last = env.step_batched(np.full((3, 2), 0.5, np.float32))

    assert last.live.tolist() == [True, False, False]
    assert last.truncated.tolist() == [True, False, False]
    assert last.obs[:, 0].tolist() == [5, 0, 0]


class Leaves(Late):
    """Agent b_9 is gone after the first step, without a word."""

    def step(self, actions):
        self.agents = ["a_1"]
        return self._obs(), dict.fromkeys(actions, np.ones(1)), {}, {}, {}


def test_an_agent_that_leaves_without_a_word_no_longer_acts():
    env = make_batched(Leaves())
    env.reset_batched(0)
    steps = [env.step_batched(np.full((3, 2), 0.5, np.float32)) for _ in range(2)]

    assert [step.live.tolist() for step in steps] == [[True, False, False]] * 2
    assert steps[1].reward[0] == 1


class Silent(Leaves):
    """Agent b_9 stays, but is not asked in every step."""

    def step(self, actions):
        obs, *rest = super().step(actions)
        self.agents = ["a_1", "b_9"]
        return obs, *rest


class Crowded(Late):
    possible_agents = ["b_9", "a_1"]  # noqa: RUF012

    def _obs(self):
        return {cell: np.array([int(cell[2:])], np.float32) for cell in self.agents}


class Vague(Leaves):
    def step(self, actions):
        obs, _, *rest = super().step(actions)
        return obs, {"a_1": np.ones(2)}, *rest


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Silent, "agent b_9: no observation after a step in which it acted and did not end"),
        (Crowded, "agent b_10: expected all agents in possible_agents, got a_1, b_9"),
        (Vague, r"reward of agent a_1: expected a number, got array\(\[1., 1.\]\)"),
    ],
)
def test_what_is_wrong_with_an_agent_is_said(env, message):
    batched = make_batched(env())
    batched.reset_batched(0)
    with pytest.raises(SpaceError, match=message):
        batched.step_batched(np.full((len(batched.cells), 2), 0.5, np.float32))


class EndsTogether(MultiAgentEnv):
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
    env = make_batched(EndsTogether())
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
