"""The three observations and their layouts; eq. (5) and the other messages."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from slicing_rllib.env import DecisionView, ObservedNetwork, ObservedSlice, SlicingEnv
from slicing_rllib.env.observation import all_cells, mean_load, per_neighbour
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.radio import make_scenario
from slicing_rllib.registry import list_names


def test_the_layout_covers_each_value_of_an_observation_once():
    parts = SlicingEnv(make_scenario("paper")).layout.values()

    assert [i for part in parts for i in range(16)[part]] == list(range(16))


@pytest.mark.parametrize("observation", list_names("observation"))
def test_every_observation_keeps_pettingzoos_contract(observation):
    parallel_api_test(SlicingEnv(make_scenario("paper"), observation=observation), num_cycles=20)


def test_the_widened_observation_begins_as_the_papers():
    paper, widened = (
        SlicingEnv(make_scenario("paper"), observation=name).reset_batched(1).obs
        for name in ("paper", "widened")
    )

    assert np.array_equal(widened[:, : paper.shape[1]], paper)
    assert widened.shape[1] == paper.shape[1] + 12


@pytest.mark.parametrize("observation", ["widened", "per_slice"])
def test_the_last_columns_are_the_persistence_policys_split(observation):
    env = SlicingEnv(make_scenario("paper"), observation=observation)
    obs = env.reset_batched(1).obs
    view = DecisionView(obs, env.kpis, env.simulator)
    split = Baseline("persistence", env.scenario).prb_ratio(view)

    assert obs[:, -4:] == pytest.approx(np.log(split + 0.01), abs=1e-5)
    assert np.array_equal(obs[:, env.layout["log_base_split"]], obs[:, -4:])


def test_a_per_slice_observation_is_made_of_blocks_of_one_number_per_slice():
    env = SlicingEnv(make_scenario("paper"), observation="per_slice")
    obs = env.reset_batched(1).obs.reshape(12, -1, 4)

    assert obs.shape[1] == len(env.layout)
    assert obs[:, 2] == pytest.approx(np.log(env.kpis.prb_ratio + 0.01))
    assert obs[:, 4] == pytest.approx(np.log1p(env.kpis.users))


def test_an_unknown_observation_is_refused():
    with pytest.raises(ValueError, match="observation: expected one of paper, widened, per_slice"):
        SlicingEnv(make_scenario("paper"), observation="all")


LOAD = np.array([[0.9], [0.2], [0.6]])


def make_network(neighbours: list[list[int]]) -> ObservedNetwork:
    """A network of cells with one slice and these neighbours."""
    return ObservedNetwork(
        cells=tuple(f"cell_{k}" for k in range(1, len(neighbours) + 1)),
        slices=(ObservedSlice(name="all", users=1),),
        sla_throughput_mbps=np.ones((len(neighbours), 1)),
        sla_delay_ms=np.ones((len(neighbours), 1)),
        neighbours=np.array(neighbours, int),
    )


@pytest.mark.equation(5)
def test_the_message_is_the_mean_load_of_the_neighbours():
    """Loads of .2 and .6 give a message of .4; one neighbour gives its load, none gives 0."""
    message = mean_load(make_network([[1, 2], [0, -1], [-1, -1]]))(LOAD)

    assert message == pytest.approx(np.array([[0.4], [0.9], [0.0]]))


def test_per_neighbour_lists_the_load_of_each_neighbour():
    message = per_neighbour(make_network([[1, 2], [0, -1], [-1, -1]]))(LOAD)

    assert message == pytest.approx(np.array([[0.2, 0.6], [0.9, 0.0], [0.0, 0.0]]))


def test_all_cells_gives_every_cell_the_loads_of_all_cells():
    assert all_cells(make_network([[], [], []]))(LOAD) == pytest.approx(
        np.tile([0.9, 0.2, 0.6], (3, 1))
    )
