"""UEs: movement, serving cells and received cells."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import MobilitySpec, RadioSpec, SiteList, SiteSpec, make_hexagonal_scenario
from slicing_rllib.radio.sparse_map import StrongestCells, index_pairs
from slicing_rllib.radio.users import (
    UNATTACHED,
    DenseReception,
    SparseReception,
    Users,
    make_reception,
)


@pytest.fixture
def box(paper):
    """Two sites by coordinates, in a rectangle with walls."""
    sites = tuple(SiteSpec(x_m=x, y_m=0.0, sla_groups=("A",) * 3) for x in (0.0, 400.0))
    return replace(paper, name="box", layout=SiteList(sites=sites))


def compute_metres_moved(scenario, users: Users, step: int) -> np.ndarray:
    before = users.location.copy()
    users.move(step)
    moved = users.location - before
    moved -= np.round(moved)
    scale = 1.0 if scenario.area.wraps else 2.0
    return np.linalg.norm(moved.T @ np.array(scenario.area.edges_m) * scale, axis=1)


@pytest.mark.parametrize("kind", ["paper", "box"])
def test_all_ues_move_at_3_to_30_km_per_h(kind, request):
    scenario = request.getfixturevalue(kind)
    users = Users(scenario, 0)
    for step in range(40):
        moved_m = compute_metres_moved(scenario, users, step)
        assert moved_m.min() >= 3 / 3.6 * scenario.step_s - 1e-6
        assert moved_m.max() <= 30 / 3.6 * scenario.step_s + 1e-6


def test_one_ue_in_sixteen_starts_a_new_leg_in_each_step(paper):
    users = Users(paper, 0)
    before = users.velocity.copy()
    users.move(3)
    has_new_leg = (users.velocity != before).any(axis=0)
    assert has_new_leg.sum() == len(has_new_leg) / 16


@pytest.mark.parametrize("kind", ["paper", "box"])
def test_ues_stay_uniformly_distributed(kind, request):
    """Every quarter of the map keeps a quarter of the UEs, unlike under random waypoints."""
    scenario = request.getfixturevalue(kind)
    users = Users(scenario, 1)
    quarters = np.zeros(4)
    for step in range(600):
        users.move(step)
        if step % 20 == 0:
            rows, columns = np.divmod(users.positions((20, 20)), 20)
            quarters += np.bincount(2 * (rows >= 10) + (columns >= 10), minlength=4)
            middle = ((abs(rows - 9.5) < 5) & (abs(columns - 9.5) < 5)).mean()
            assert middle == pytest.approx(0.25, abs=0.06)
    assert quarters / quarters.sum() == pytest.approx(0.25, abs=0.02)


def test_coordinates_rounded_to_one_are_on_the_map(paper):
    users = Users(paper, 0)
    users.location[:] = np.nextafter(1.0, 2.0)
    assert users.positions((7, 9)).max() == 62
    users.location[:] = 0.0
    assert users.positions((7, 9)).max() == 0


def test_an_additional_site_does_not_change_other_ues_movement(paper):
    layout = paper.layout
    more = replace(paper, layout=replace(layout, rows=3))
    few_users, more_users = Users(paper, 2), Users(more, 2)
    few = len(few_users.quantile)
    assert np.array_equal(few_users.location, more_users.location[:, :few])


def test_ues_with_speed_zero_do_not_move(paper):
    still = replace(paper, mobility=MobilitySpec(min_speed_kmh=0.0, max_speed_kmh=0.0))
    users = Users(still, 0)
    before = users.location.copy()
    users.move(0)
    assert np.array_equal(users.location, before)


SNR = np.array([[10.0, 1.0, 4.0], [1.0, 1.5, 0.1]])


def make_dense(paper) -> DenseReception:
    reception = DenseReception(paper, 0)
    reception.snr = SNR
    reception.switch_cells(np.zeros(3, bool))
    return reception


def make_sparse(paper) -> SparseReception:
    """The same map, as the strongest cells of each position."""
    reception = SparseReception(replace(paper, radio=RadioSpec(map_resolution_m=50.0)), 0)
    order = np.argsort(-SNR, axis=1).astype(np.int32)
    snr = np.take_along_axis(SNR, order, axis=1).astype(np.float32)
    reception._all_on = index_pairs(StrongestCells(order, snr), 2.0)
    return reception


@pytest.fixture(params=[make_dense, make_sparse])
def reception(request, paper):
    return request.param(paper)


def test_a_ue_first_attaches_to_the_strongest_cell(reception):
    reception.switch_cells(np.ones(3, bool))
    unattached = np.full(2, UNATTACHED)
    assert reception.attach(np.array([0, 1]), unattached)[0].tolist() == [0, 1]


def test_a_ue_hands_over_once_another_cell_is_2_db_stronger(reception):
    """1.5 over 1 is 1.76 dB: the UE stays. 10 over 4 is 4 dB: it hands over."""
    reception.switch_cells(np.ones(3, bool))
    position = np.array([1, 0])
    serving, rank = reception.attach(position, np.array([0, 2]))
    assert serving.tolist() == [0, 0]
    assert reception.look_up_snr(position, rank)[0].tolist() == [1.0, 10.0]


def test_ues_leave_a_cell_that_is_switched_off_and_return_when_it_is_on(reception):
    reception.switch_cells(np.array([False, True, True]))
    elsewhere = reception.attach(np.array([0, 0]), np.array([0, 0]))[0]
    assert elsewhere.tolist() == [2, 2]
    reception.switch_cells(np.ones(3, bool))
    assert reception.attach(np.array([0, 0]), elsewhere)[0].tolist() == [0, 0]


def test_small_networks_use_a_dense_map_and_large_ones_a_sparse_map(paper):
    assert isinstance(make_reception(paper, 0), DenseReception)
    coarse = replace(paper, radio=RadioSpec(map_resolution_m=50.0))
    assert isinstance(
        make_reception(make_hexagonal_scenario(3, 2, like=coarse), 0), SparseReception
    )


def test_pairs_refer_to_the_serving_and_the_received_cell(paper):
    """The serving cell's own pair has the index after the last."""
    coarse = replace(paper, radio=RadioSpec(map_resolution_m=50.0))
    reception = SparseReception(make_hexagonal_scenario(3, 3, like=coarse), 1)
    reception.switch_cells(np.ones(27, bool))
    cell_map = reception._map
    for rank in (0, 1):
        position = np.flatnonzero(cell_map.candidates > rank)
        serving = cell_map.cell[position, rank]
        _, _, pair = reception.look_up_snr(position, np.full(len(position), rank))
        interferer = np.append(cell_map.pairs.interferer, -1)[pair]
        assert np.array_equal(
            np.where(interferer < 0, serving[:, None], interferer), cell_map.cell[position]
        )
        paired_with = np.append(cell_map.pairs.serving, -1)[pair]
        assert ((paired_with == serving[:, None]) | (paired_with < 0)).all()
