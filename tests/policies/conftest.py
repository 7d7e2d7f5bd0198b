"""The scenario `paper`, an environment of it, and what policies know at its first step."""

import pytest

from slicing_rllib.env import DecisionView, SlicingEnv
from slicing_rllib.radio import make_scenario


@pytest.fixture(scope="session")
def scenario():
    return make_scenario("paper")


@pytest.fixture
def env(scenario):
    env = SlicingEnv(scenario, default_seed=3, map_seed=0)
    env.reset_batched(3)
    return env


@pytest.fixture
def view(env):
    batched = env.reset_batched()
    return DecisionView(batched.obs, env.kpis, env.simulator, env.reports)
