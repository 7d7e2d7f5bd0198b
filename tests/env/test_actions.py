"""Every action of every space is legal, and the environment can be copied and sent elsewhere."""

import copy
import itertools
import pickle

import cloudpickle
import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.radio import make_scenario


def make_env(**arguments):
    env = SlicingEnv(make_scenario("paper"), episode_steps=20, **arguments)
    env.reset(seed=1)
    return env


def step_with(env, action):
    return env.step(dict.fromkeys(env.agents, action))


@pytest.mark.parametrize("corner", [*itertools.product([0, 1], repeat=4)])
def test_every_corner_of_the_box_is_a_split(corner):
    env = make_env()
    step_with(env, np.array(corner, np.float32))
    expected = np.array(corner) / sum(corner) if any(corner) else np.full(4, 0.25)

    assert env.kpis.prb_ratio == pytest.approx(np.tile(expected, (12, 1)))


def test_zeros_in_one_cell_are_equal_shares_there_and_in_lookahead():
    env = make_env()
    weights = np.tile([4, 3, 2, 1], (12, 1)).astype(np.float32)
    weights[3] = 0
    expected = env.compute_rewards(weights)
    batched = env.step_batched(weights)

    assert batched.reward.tolist() == expected.tolist()
    assert batched.action[3].tolist() == [0.25] * 4
    assert batched.action[2] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_logits_become_shares_by_softmax():
    """The logarithms of 4, 3, 2 and 1 are the split in tenths."""
    env = make_env(action="logits")
    step_with(env, np.log([4, 3, 2, 1]))

    assert env.kpis.prb_ratio == pytest.approx(np.tile([0.4, 0.3, 0.2, 0.1], (12, 1)))


@pytest.mark.parametrize("corner", [-5.0, 5.0])
def test_equal_logits_are_equal_shares(corner):
    env = make_env(action="logits")
    step_with(env, np.full(4, corner))

    assert env.kpis.prb_ratio == pytest.approx(np.full((12, 4), 0.25))


def test_the_grid_has_every_split_into_tenths_once():
    """Nine cuts between ten tenths, of which three are chosen: 84 splits of four slices."""
    env = make_env(action="grid")
    space = env.action_space("cell_1")
    splits = []
    for number in range(space.n):
        env.reset()
        step_with(env, number)
        splits.append(tuple(np.round(10 * env.kpis.prb_ratio[0]).astype(int)))

    assert len(set(splits)) == space.n == 84
    assert min(map(min, splits)) == 1
    assert set(map(sum, splits)) == {10}


@pytest.mark.parametrize(
    ("arguments", "action", "message"),
    [
        ({"action": "grid"}, 84, "action of cell_1: expected a number from 0 to 83, got 84"),
        ({"action": "grid"}, np.ones(4), "action of cell_1: expected a number from 0 to 83, got s"),
        ({"action": "logits"}, np.ones(3), "action of cell_1: expected 4 logits, got shape"),
        ({"action": "logits"}, np.full(4, np.nan), "prb_ratio of cell_1: expected finite"),
    ],
)
def test_an_action_of_another_kind_raises_an_error(arguments, action, message):
    with pytest.raises(ValueError, match=message):
        step_with(make_env(**arguments), action)


def test_an_unknown_kind_of_action_raises_an_error():
    with pytest.raises(ValueError, match="action: expected one of weights, logits, grid, got 'x'"):
        make_env(action="x")


@pytest.mark.parametrize("message", ["none", "mean_load", "per_neighbour", "all_cells"])
@pytest.mark.parametrize(
    "duplicate",
    [lambda env: pickle.loads(pickle.dumps(env)), copy.deepcopy,
     lambda env: pickle.loads(cloudpickle.dumps(env))],
    ids=["pickle", "deepcopy", "cloudpickle"],
)  # fmt: skip
def test_a_copy_goes_on_like_the_original(duplicate, message):
    env = make_env(message=message)
    step_with(env, np.ones(4))
    other = duplicate(env)
    for one in (env, other):
        one.last = step_with(one, np.arange(4))

    assert env.last[1] == other.last[1]
    assert all(np.array_equal(obs, other.last[0][cell]) for cell, obs in env.last[0].items())
    assert other.action_space("cell_1") is other.action_space("cell_1")


def test_the_state_is_all_observations_in_a_row():
    env = make_env()
    obs, *_ = step_with(env, np.ones(4))

    assert np.array_equal(env.state(), np.concatenate(list(obs.values())))
    assert env.state_space.contains(env.state())
