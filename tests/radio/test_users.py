"""UEs keep their speed limits, stay uniformly distributed, and move independently of new cells."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import MobilitySpec, SiteList, SiteSpec
from slicing_rllib.radio.users import Users


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
