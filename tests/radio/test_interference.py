"""Load-coupled interference: overlaps by hand, properties of the fixed point, closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import bisect

from slicing_rllib.radio import RadioSpec, Scenario, Simulator, SyntheticMask, make_scenario
from slicing_rllib.radio import interference as interference_module
from slicing_rllib.radio.interference import (
    ActiveUes,
    ContiguousPlacement,
    RandomPlacement,
    prb_overlap,
    solve_load_fixed_point,
)
from slicing_rllib.radio.link import LINKS
from slicing_rllib.registry import get_part, list_names

BANDWIDTH_HZ = 18e6
LINK = LINKS["shannon"]


def network(seed: int, n_cells: int, n_slices: int, n_ues: int) -> tuple[ActiveUes, np.ndarray]:
    """A random network: its active UEs, and a split of every carrier."""
    rng = np.random.default_rng(seed)
    key = rng.integers(0, n_cells * n_slices, n_ues)
    snr = 10 ** rng.uniform(-1, 4, (n_ues, n_cells))
    users = np.bincount(key, minlength=n_cells * n_slices).reshape(n_cells, n_slices)
    signal = snr[np.arange(n_ues), key // n_slices]
    share = rng.dirichlet(np.ones(n_slices), n_cells)
    return ActiveUes(key, signal, snr, users.astype(float)), share


def solve(received, share, placement, start, rate_mbps=0.5, tolerance=1e-12, idle_load=0.05):
    on = np.ones(len(share), bool)
    interference = get_part("placement", placement).dense(on, share.shape[1], idle_load)
    return solve_load_fixed_point(
        received,
        interference.interference(received, share),
        share,
        np.full(share.shape[1], rate_mbps),
        LINK,
        BANDWIDTH_HZ,
        np.full(share.shape, start),
        tolerance,
    )


def test_prb_overlap_of_two_cells():
    """Cells split 50/50 and 25/75: half of cell 0's first slice lies in each slice of cell 1."""
    overlap = prb_overlap(np.array([[0.5, 0.5], [0.25, 0.75]]))

    assert overlap[0] == pytest.approx(np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert overlap[1] == pytest.approx(np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert overlap[3] == pytest.approx(np.array([[1 / 3, 2 / 3], [0.0, 1.0]]))


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_each_cell_covers_every_prb_range_exactly_once(seed, n_cells, n_slices):
    share = np.random.default_rng(seed).dirichlet(np.ones(n_slices), n_cells)
    assert prb_overlap(share).sum(axis=2) == pytest.approx(1.0)


def list_iterates(received, share, placement, start) -> np.ndarray:
    """The utilisations after each of the first six iterations."""
    found = []
    for last in range(1, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(interference_module, "MAX_ITERATIONS", last)
            found.append(solve(received, share, placement, start).utilisation)
    return np.array(found)


def make_two_cells() -> ActiveUes:
    return ActiveUes(np.array([0, 1]), np.array([8.0, 8.0]), np.full((2, 2), 8.0), np.ones((2, 1)))


def test_interference_is_proportional_to_the_neighbours_load():
    received = make_two_cells()
    share = np.ones((2, 1))
    for placement in (ContiguousPlacement, RandomPlacement):
        compute_interference = placement(np.ones(2, bool), 1, 0.05).interference(received, share)
        assert compute_interference(np.array([[0.3], [0.5]])) == pytest.approx([4.0, 2.4])
        assert compute_interference(np.zeros((2, 1))) == pytest.approx([0.4, 0.4])


def test_a_cell_that_is_off_does_not_interfere():
    received = make_two_cells()
    share = np.array([[1.0], [0.0]])
    for placement in (ContiguousPlacement, RandomPlacement):
        placed = placement(np.array([True, False]), 1, 0.05)
        compute_interference = placed.interference(received, share)
        assert compute_interference(np.array([[0.3], [0.0]]))[0] == pytest.approx(0.0)


def test_the_fixed_point_of_two_symmetric_cells_agrees_with_bisection():
    """rho = lambda / (B SE(8 / (1 + 8 rho))), one UE of 8 Mbit/s each."""

    def excess(rho: float) -> float:
        sinr = np.array([8 / (1 + 8 * rho)])
        return rho - 8e6 / BANDWIDTH_HZ / LINK.continuous_efficiency(sinr)[0]

    expected = bisect(excess, 0.05, 1.0, xtol=1e-12)
    for placement in list_names("placement"):
        found = solve(make_two_cells(), np.ones((2, 1)), placement, 0.0, rate_mbps=8.0)
        assert found.utilisation == pytest.approx(expected, abs=1e-9)
        assert 0.05 < expected < 1


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_cells=st.integers(1, 6),
    n_slices=st.integers(1, 4),
    placement=st.sampled_from(list_names("placement")),
    rate_mbps=st.floats(0.01, 3.0),
)
def test_iterations_from_idle_and_from_full_enclose_one_fixed_point(
    seed, n_cells, n_slices, placement, rate_mbps
):
    received, share = network(seed, n_cells, n_slices, n_ues=40)
    low, high = (solve(received, share, placement, start, rate_mbps, 1e-10) for start in (0.0, 1.0))
    assert (low.utilisation <= high.utilisation + 1e-9).all()
    assert (share * (high.utilisation - low.utilisation)).max() < 1e-7

    default = solve(received, share, placement, 0.5, rate_mbps, 1e-3)
    assert np.abs(share * (default.utilisation - low.utilisation)).max() < 5e-3


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), placement=st.sampled_from(list_names("placement")))
def test_iterates_rise_from_idle_and_fall_from_full(seed, placement):
    received, share = network(seed, 4, 3, n_ues=40)
    for start, direction in ((0.0, 1), (1.0, -1)):
        changes = np.diff(list_iterates(received, share, placement, start), axis=0)
        assert (direction * changes >= -1e-12).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), placement=st.sampled_from(list_names("placement")))
def test_a_start_at_the_fixed_point_stops_after_one_iteration(seed, placement):
    received, share = network(seed, 4, 3, n_ues=40)
    solution = solve(received, share, placement, 0.0).utilisation
    again = solve(received, share, placement, 0.0)
    assert np.array_equal(solution, again.utilisation)
    continued = solve_load_fixed_point(
        received,
        get_part("placement", placement)
        .dense(np.ones(4, bool), 3, 0.05)
        .interference(received, share),
        share,
        np.full(3, 0.5),
        LINK,
        BANDWIDTH_HZ,
        solution,
        1e-9,
    )
    assert continued.iterations == 1
    assert continued.utilisation == pytest.approx(solution, abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), placement=st.sampled_from(list_names("placement")))
def test_relabelling_cells_permutes_the_solution(seed, placement):
    received, share = network(seed, 5, 2, n_ues=40)
    order = np.random.default_rng(seed).permutation(5)
    new_index = np.argsort(order)
    relabelled = ActiveUes(
        new_index[received.key // 2] * 2 + received.key % 2,
        received.signal,
        received.snr[:, order],
        received.users[order],
    )
    plain = solve(received, share, placement, 0.0).utilisation
    assert solve(relabelled, share[order], placement, 0.0).utilisation == pytest.approx(
        plain[order], abs=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), placement=st.sampled_from(list_names("placement")))
def test_more_traffic_never_lowers_a_load(seed, placement):
    received, share = network(seed, 4, 3, n_ues=40)
    loads = [
        solve(received, share, placement, 0.0, rate_mbps).utilisation for rate_mbps in (0.3, 0.4)
    ]
    assert (loads[1] >= loads[0] - 1e-9).all()


RADIOS = st.fixed_dictionaries(
    {
        "placement": st.sampled_from(list_names("placement")),
        "link": st.sampled_from(sorted(LINKS)),
        "idle_load": st.floats(0.0, 0.3),
        "cells_kept": st.sampled_from((6, 16)),
        "environment": st.sampled_from(("winner_c2", "winner_b1", "tr38901_uma")),
    }
)
GRIDS = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 3),
        "columns": st.integers(1, 4),
        "site_distance_m": st.floats(200.0, 1500.0),
    }
)


def random_scenario(radio: dict, grid: dict, rate_kbps: float, busy: float) -> Scenario:
    """The scenario `paper` with 8 UEs per slice on another grid, with other traffic and radio."""
    paper = make_scenario("paper")
    slices = tuple(
        replace(spec, users=8, traffic=replace(spec.traffic, rate_kbps=rate_kbps))
        for spec in paper.slices
    )
    return replace(
        paper,
        radio=RadioSpec(map_resolution_m=50.0, **radio),
        slices=slices,
        mask=SyntheticMask(low=busy**2, high=busy, cell_spread=1.0),
        layout=replace(paper.layout, **grid),
    )


@settings(max_examples=25, deadline=None)
@given(
    radio=RADIOS,
    grid=GRIDS,
    rate_kbps=st.floats(100.0, 4000.0),
    busy=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**31),
)
def test_in_any_scenario_iterations_from_idle_and_from_full_enclose_the_fixed_point(
    bracket, radio, grid, rate_kbps, busy, seed
):
    scenario = random_scenario(radio, grid, rate_kbps, busy)
    simulator = Simulator(scenario, seed)
    split = np.random.default_rng(seed).dirichlet(np.ones(4), len(scenario.cells))
    low, high = bracket(simulator, split, tolerance=1e-6)
    assert low.residual <= 1e-6 >= high.residual
    assert (low.utilisation <= high.utilisation + 1e-3).all()
    assert (split * np.abs(high.utilisation - low.utilisation)).max() < 1e-4
    default = simulator.evaluate(split)
    assert np.abs(default.load - split * low.utilisation).max() < 1e-2
