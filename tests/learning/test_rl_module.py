"""Which spaces are understood, and what is said about the others."""

import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.utils.spaces.simplex import Simplex

from slicing_rllib.learning.rl_module import AgentSpaces, SpaceError

OBS = spaces.Box(-1, 1, (3,), np.float32)
UNIT = spaces.Box(0, 1, (4,), np.float32)


@pytest.mark.parametrize(
    ("action", "setting", "squash"),
    [
        (UNIT, "auto", "softmax"),
        (UNIT, "tanh", "tanh"),
        (Simplex((4,)), "auto", "softmax"),
        (spaces.Box(-1, 1, (4,), np.float32), "auto", "tanh"),
        (spaces.Box(0, 100, (4,), np.float32), "auto", "tanh"),
        # The softmax of one number is always 1.
        (spaces.Box(0, 1, (1,), np.float32), "auto", "tanh"),
    ],
)
def test_the_action_space_says_how_actions_are_computed(action, setting, squash):
    assert AgentSpaces("a", OBS, action, setting).squash == squash


def test_bounded_actions_are_scaled_to_their_bounds():
    """-1 is the lower bound, 0 the middle, 1 the upper bound, in the shape of the space."""
    action = spaces.Box(np.array([[0.0, -2.0]]), np.array([[100.0, 2.0]]), dtype=np.float64)
    agent = AgentSpaces("a", OBS, action)

    assert agent.scale_action(np.array([-1, -1], np.float32)).tolist() == [[0, -2]]
    assert agent.scale_action(np.array([0, 0], np.float32)).tolist() == [[50, 0]]
    assert agent.scale_action(np.array([1, 1], np.float32)).tolist() == [[100, 2]]
    assert action.contains(agent.scale_action(np.array([0.3, -0.7], np.float32)))


@pytest.mark.parametrize(
    "action",
    [
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 2]),
        spaces.Dict(a=UNIT),
        spaces.Box(-np.inf, np.inf, (2,), np.float32),
        spaces.Box(0, 5, (2,), np.int64),
        Simplex((2, 3)),
        None,
    ],
    ids=lambda space: type(space).__name__,
)
def test_other_actions_are_refused_by_name(action):
    with pytest.raises(SpaceError, match=r"^agent a: action space .*expected a Box with finite"):
        AgentSpaces("a", OBS, action)


def test_a_softmax_of_other_bounds_is_refused():
    with pytest.raises(SpaceError, match="expected a Box from 0 to 1 for squash softmax"):
        AgentSpaces("a", OBS, spaces.Box(-1, 1, (2,), np.float32), "softmax")


def test_observations_of_any_fixed_size_become_vectors_and_back():
    obs = spaces.Dict(mode=spaces.Discrete(3), level=spaces.Box(0, 1, (2,), np.float32))
    agent = AgentSpaces("a", obs, UNIT)
    seen = {"mode": np.int64(1), "level": np.array([0.25, 0.5], np.float32)}
    vector = agent.flatten_obs(seen)
    back = agent.restore_obs(vector)

    assert agent.obs_size == 5
    assert vector.tolist() == [0, 1, 0, 0.25, 0.5]
    assert back["mode"] == 1
    assert back["level"].tolist() == [0.25, 0.5]


def test_observations_without_a_fixed_size_are_refused_by_name():
    with pytest.raises(SpaceError, match=r"^agent a: observation space Sequence.*fixed size"):
        AgentSpaces("a", spaces.Sequence(OBS), UNIT)


@pytest.mark.parametrize("obs", [0.5, np.zeros(2), np.zeros((1, 3))], ids=["scalar", "two", "row"])
def test_an_observation_of_another_shape_is_refused(obs):
    """NumPy would spread a scalar over all three entries."""
    with pytest.raises(SpaceError, match=r"observation of agent a: expected Box.*, got shape"):
        AgentSpaces("a", OBS, UNIT).flatten_obs(obs)


def test_an_observation_outside_a_discrete_space_is_refused():
    with pytest.raises(SpaceError, match=r"observation of agent a: expected Discrete\(3\), got 7"):
        AgentSpaces("a", spaces.Discrete(3), UNIT).flatten_obs(7)
