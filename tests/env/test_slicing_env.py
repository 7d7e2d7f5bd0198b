"""The environment: PettingZoo's API, rewards, phases of cells, state and errors."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from slicing_rllib.env import Deployment, SlicingEnv, slice_reward
from slicing_rllib.env.satisfaction_map import satisfaction_map
from slicing_rllib.radio import Phase, make_scenario


@pytest.fixture(scope="module")
def scenario():
    return make_scenario("paper")


@pytest.fixture
def env(scenario):
    env = SlicingEnv(scenario, episode_steps=20, default_seed=0)
    env.reset(seed=1)
    return env


def equal_split(env):
    return np.full((len(env.cells), env.action_size), 0.25, np.float32)


def test_pettingzoos_api_test_passes_without_warnings(env):
    """Pytest is configured to treat warnings as errors."""
    parallel_api_test(env, num_cycles=100)


def test_pettingzoos_seed_test_passes(scenario):
    parallel_seed_test(lambda: SlicingEnv(scenario, episode_steps=20), num_cycles=50)


def test_an_observation_has_sixteen_values(env):
    obs, infos = env.reset(seed=1)

    assert {o.shape for o in obs.values()} == {(16,)}
    assert all(env.observation_space(cell).contains(o) for cell, o in obs.items())
    assert infos["cell_1"]["delay_ms"].shape == (4,)


@pytest.mark.parametrize(
    ("message", "size"), [("none", 12), ("mean_load", 16), ("per_neighbour", 36), ("all_cells", 60)]
)
def test_the_message_determines_the_length_of_an_observation(scenario, message, size):
    """The scenario has four slices, six neighbours per cell and twelve cells."""
    assert SlicingEnv(scenario, message=message).obs_size == size


def test_rewards_follow_from_the_kpis(env, scenario):
    _, rewards, *_ = env.step({cell: np.array([4, 3, 2, 1]) for cell in env.agents})
    kpis = env.kpis
    expected = slice_reward(
        kpis.throughput_mbps, kpis.delay_ms, scenario.sla_throughput_mbps, scenario.sla_delay_ms
    )

    assert list(rewards.values()) == pytest.approx(expected)
    assert kpis.prb_ratio == pytest.approx(np.tile([0.4, 0.3, 0.2, 0.1], (12, 1)))


@pytest.mark.equation(1)
def test_weights_are_scaled_to_a_sum_of_one(env):
    """Weights of 1, 1, 2 and 4 give an eighth, an eighth, a quarter and a half."""
    env.step({cell: np.array([1, 1, 2, 4]) for cell in env.agents})

    assert env.kpis.prb_ratio == pytest.approx(np.tile([0.125, 0.125, 0.25, 0.5], (12, 1)))


def test_all_cells_are_truncated_after_an_episode_and_the_network_continues(env):
    for _ in range(20):
        batched = env.step_batched(equal_split(env))
    again = env.reset_batched()

    assert batched.truncated.all()
    assert not batched.terminated.any()
    assert np.array_equal(again.obs, batched.obs)
    assert not again.truncated.any()


def test_a_deployed_cell_joins_a_running_network(scenario):
    """It is off for two steps, under the default action for two, and then controlled."""
    late = Deployment(cell="cell_3", off_until=2, default_action_until=4)
    env = SlicingEnv(scenario, deployments=[late])
    obs, _ = env.reset(seed=0)
    seen = ["cell_3" in obs]
    shares = []
    for _ in range(5):
        obs, *_ = env.step({cell: np.array([1, 0, 0, 0]) for cell in env.agents})
        seen.append("cell_3" in obs)
        shares.append(env.kpis.prb_ratio[2, 0])

    assert seen == [False, False, False, True, True, True]
    assert shares[2:] == pytest.approx([0.25, 0.25, 1.0])
    assert env.agents == list(env.cells)


def test_ues_of_a_cell_that_goes_off_attach_to_other_cells(env):
    users = env.kpis.users.sum()
    env.set_phase("cell_3", Phase.OFF)
    env.step({cell: np.ones(4) for cell in env.agents})

    assert env.kpis.users[2].sum() == 0
    assert env.kpis.users.sum() == pytest.approx(users, rel=0.2)


def test_a_cell_that_goes_off_is_truncated_and_no_longer_an_agent(scenario):
    env = SlicingEnv(scenario, default_seed=0)
    env.reset(seed=0)
    env.set_phase("cell_3", Phase.OFF)
    _, _, terminated, truncated, _ = env.step({cell: np.ones(4) for cell in env.agents})

    assert "cell_3" not in env.agents
    assert truncated.get("cell_3", True)
    assert not any(terminated.values())


def test_a_restored_environment_continues_bit_for_bit(env, scenario):
    for _ in range(3):
        env.step_batched(equal_split(env))
    state = env.checkpoint_state()
    first = [env.step_batched(equal_split(env)) for _ in range(5)]
    other = SlicingEnv(scenario, episode_steps=20)
    other.restore_state(state)
    second = [other.step_batched(equal_split(env)) for _ in range(5)]

    for one, two in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_dicts_and_batched_arrays_have_the_same_values(scenario):
    rng = np.random.default_rng(0)
    by_dict, by_array = (SlicingEnv(scenario) for _ in range(2))
    by_dict.reset(seed=2)
    by_array.reset_batched(2)
    for _ in range(5):
        action = rng.dirichlet(np.ones(4), 12).astype(np.float32)
        obs, rewards, *_ = by_dict.step(dict(zip(by_dict.cells, action, strict=True)))
        batched = by_array.step_batched(action)

        assert np.array_equal(np.stack(list(obs.values())), batched.obs)
        assert list(rewards.values()) == batched.reward.tolist()


def test_render_returns_an_rgb_picture_with_several_colours(scenario):
    env = SlicingEnv(scenario, render_mode="rgb_array", default_seed=0)
    env.reset(seed=0)
    picture = env.render()

    assert picture is not None
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"cell_99": np.ones(4)}, "action: expected one of cell_1 to cell_12, got 'cell_99'"),
        ({"cell_1": np.ones(3)}, "action of cell_1: expected 4 weights"),
        ({"cell_1": np.full(4, np.nan)}, "prb_ratio of cell_1: expected finite"),
        (
            {"cell_1": np.array([1, 1, 1, -1])},
            "prb_ratio of cell_1: expected finite weights, none neg",
        ),
    ],
)
def test_an_invalid_action_raises_an_error_with_its_cell(env, actions, message):
    valid = {cell: np.ones(4) for cell in env.agents}
    with pytest.raises(ValueError, match=message):
        env.step(valid | actions)


def test_a_missing_action_raises_an_error_with_its_cell(env):
    with pytest.raises(ValueError, match="action of cell_2: missing"):
        env.step({"cell_1": np.ones(4)})


def test_invalid_settings_raise_an_error(scenario):
    with pytest.raises(ValueError, match="message: expected one of none"):
        SlicingEnv(scenario, message="shout")
    with pytest.raises(ValueError, match="episode_steps: expected at least 1"):
        SlicingEnv(scenario, episode_steps=0)
    with pytest.raises(ValueError, match="deployments: expected one of cell_1 to cell_12"):
        SlicingEnv(
            scenario, deployments=[Deployment(cell="x", off_until=0, default_action_until=1)]
        )


def test_each_position_has_the_colour_of_its_cell():
    """Cell 0 on the left has full satisfaction (teal); cell 1 on the right is off (grey)."""
    serving = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
    picture = satisfaction_map(serving, np.array([1.0, 0.0]), np.array([True, False]))

    assert picture.shape == (4, 6, 3)
    assert picture[2, 1].tolist() == [25, 140, 140]
    assert picture[2, 4].tolist() == [204, 204, 204]


def test_borders_between_cells_are_darker():
    serving = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
    picture = satisfaction_map(serving, np.ones(2), np.ones(2, bool))

    assert (picture[:, 2] < picture[:, 1]).all()


def test_levels_of_satisfaction_have_different_colours():
    serving = np.array([[0, 0, 1, 1, 2, 2]])
    picture = satisfaction_map(serving, np.array([0.2, 0.7, 1.0]), np.ones(3, bool))

    assert len({tuple(picture[0, x]) for x in (0, 2, 4)}) == 3


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        (0, Phase.OFF),
        (4, Phase.OFF),
        (5, Phase.DEFAULT),
        (8, Phase.DEFAULT),
        (9, Phase.CONTROLLED),
    ],
)
def test_the_phase_at_a_step(step, phase):
    deployment = Deployment(cell="cell_1", off_until=5, default_action_until=9)

    assert deployment.phase_at(step) == phase


def test_phases_out_of_order_raise_an_error():
    with pytest.raises(ValueError, match="deployment of cell_1: expected off_until <= "):
        Deployment(cell="cell_1", off_until=5, default_action_until=4)


def test_another_seed_draws_another_map_unless_one_is_named(scenario):
    """A reset without a seed keeps the map, and so does one with the same seed."""
    free, fixed = SlicingEnv(scenario), SlicingEnv(scenario, map_seed=3)
    drawn = []
    for seed in (1, 2, None, 2):
        for env in (free, fixed):
            env.reset(seed=seed)
        drawn.append((free.simulator.map_seed, fixed.simulator.map_seed))

    assert drawn == [(1, 3), (2, 3), (2, 3), (2, 3)]
    named = SlicingEnv(scenario, map_seed=2)
    named.reset(seed=2)
    assert np.array_equal(free.simulator.serving_map(), named.simulator.serving_map())
    assert not np.array_equal(free.simulator.serving_map(), fixed.simulator.serving_map())


def test_a_restored_environment_has_the_map_of_its_state(scenario):
    one, other = (SlicingEnv(scenario) for _ in range(2))
    one.reset(seed=4)
    other.reset(seed=9)
    other.restore_state(one.checkpoint_state())

    assert other.simulator.map_seed == 4
    assert np.array_equal(
        one.step_batched(equal_split(one)).obs, other.step_batched(equal_split(one)).obs
    )
