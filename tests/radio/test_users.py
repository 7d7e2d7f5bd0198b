"""UEs move evenly over the map, attach to the strongest cell, and don't jump."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import MobilitySpec, SiteList, SiteSpec
from slicing_rllib.radio.users import Users


@pytest.fixture
def box(paper):
    """Two sites by coordinates, between walls."""
    sites = tuple(SiteSpec(x_m=x, y_m=0.0, sla_groups=("A",) * 3) for x in (0.0, 400.0))
    return replace(paper, name="box", layout=SiteList(sites=sites))


def metres_moved(scenario, users: Users, step: int) -> np.ndarray:
    before = users.place.copy()
    users.move(step)
    turns = users.place - before
    turns -= np.round(turns)
    scale = 1.0 if scenario.ground.wraps else 2.0
    return np.linalg.norm(turns.T @ np.array(scenario.ground.edges_m) * scale, axis=1)


@pytest.mark.parametrize("kind", ["paper", "box"])
def test_everyone_moves_at_3_to_30_km_per_h(kind, request):
    scenario = request.getfixturevalue(kind)
    users = Users(scenario, 0)
    for step in range(40):
        moved_m = metres_moved(scenario, users, step)
        assert moved_m.min() >= 3 / 3.6 * scenario.step_s - 1e-6
        assert moved_m.max() <= 30 / 3.6 * scenario.step_s + 1e-6


def test_a_sixteenth_of_them_turns_each_step(paper):
    users = Users(paper, 0)
    before = users.velocity.copy()
    users.move(3)
    turned = (users.velocity != before).any(axis=0)
    assert turned.sum() == len(turned) / 16


@pytest.mark.parametrize("kind", ["paper", "box"])
def test_the_crowd_stays_even(kind, request):
    """Not in the middle, as random-waypoint users are: every quarter of the map keeps a quarter."""
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


def test_positions_are_always_on_the_map(paper):
    users = Users(paper, 0)
    users.place[:] = np.nextafter(1.0, 2.0)
    assert users.positions((7, 9)).max() == 62
    users.place[:] = 0.0
    assert users.positions((7, 9)).max() == 0


def test_one_more_site_shifts_nobodys_movement(paper):
    layout = paper.layout
    more = replace(paper, layout=replace(layout, rows=3))
    few_users, more_users = Users(paper, 2), Users(more, 2)
    few = len(few_users.quantile)
    assert np.array_equal(few_users.place, more_users.place[:, :few])


def test_users_stand_still_when_told_to(paper):
    still = replace(paper, mobility=MobilitySpec(min_speed_kmh=0.0, max_speed_kmh=0.0))
    users = Users(still, 0)
    before = users.place.copy()
    users.move(0)
    assert np.array_equal(users.place, before)
