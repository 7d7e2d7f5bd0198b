"""Environments by name, class or path, of every kind that RLlib's users have."""

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
