"""The simulator's interface: determinism, state, splits, phases and KPIs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slicing_rllib.radio import (
    Phase,
    RadioSpec,
    Simulator,
    SiteList,
    SiteSpec,
    SyntheticMask,
    make_scenario,
)
from slicing_rllib.radio.kpis import served_share

PAPER = make_scenario("paper")


def splits(seed: int, steps: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(4), (steps, 12))


def equal_kpis(some, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def test_equal_seeds_give_bit_identical_kpis():
    runs = [Simulator(PAPER, 5, map_seed=0) for _ in range(2)]
    for split in splits(0, 30):
        assert equal_kpis(runs[0].step(split), runs[1].step(split))


def test_another_seed_changes_demand_and_keeps_the_map(equal_split):
    one, two = (Simulator(PAPER, seed, map_seed=0) for seed in (5, 6))
    assert not np.array_equal(one.demand_mbps, two.demand_mbps)
    assert np.array_equal(one.serving_map(), two.serving_map())


def test_a_reset_with_the_same_seed_repeats_the_same_steps(simulator):
    first = [simulator.step(split) for split in splits(1, 10)]
    simulator.reset(5)
    again = [simulator.step(split) for split in splits(1, 10)]
    assert all(equal_kpis(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("steps", [0, 1, 17, 130])
def test_a_restored_simulator_continues_bit_for_bit(simulator, steps):
    for split in splits(2, steps):
        simulator.step(split)
    simulator.set_phase("cell_4", Phase.OFF)
    state = simulator.state()
    expected = [simulator.step(split) for split in splits(3, 40)]

    other = Simulator(PAPER, 99, map_seed=0)
    other.restore(state)
    found = [other.step(split) for split in splits(3, 40)]
    assert all(equal_kpis(a, b) for a, b in zip(expected, found, strict=True))


def test_reading_the_state_does_not_change_later_steps(simulator):
    twin = Simulator(PAPER, 5, map_seed=0)
    for split in splits(4, 20):
        simulator.state()
        assert equal_kpis(simulator.step(split), twin.step(split))


def test_evaluate_returns_the_kpis_of_step_and_does_not_continue(simulator):
    twin = Simulator(PAPER, 5, map_seed=0)
    for split, other in zip(splits(4, 20), splits(5, 20), strict=True):
        simulator.evaluate(other)
        assert equal_kpis(simulator.evaluate(split), simulator.step(split))
        twin.step(split)
    assert equal_kpis(simulator.evaluate(split), twin.evaluate(split))


def test_later_steps_do_not_change_returned_kpis(simulator, equal_split):
    kept = simulator.step(equal_split)
    copy = [np.array(column) for column in kept]
    for split in splits(6, 5):
        simulator.step(split)
    assert equal_kpis(kept, copy)


def test_kpis_agree_with_the_formulas_of_step_kpis(simulator):
    for split in splits(7, 60):
        kpis = simulator.step(split)
    has_users = kpis.users > 0
    served = served_share(kpis.prb_ratio, kpis.required_share)
    expected_mbps = kpis.mean_rate_mbps * served
    assert has_users.mean() > 0.9
    assert kpis.throughput_mbps[has_users] == pytest.approx(expected_mbps[has_users])
    work = kpis.packet_kbit * kpis.mean_inverse_rate
    expected_ms = np.minimum(work / np.maximum(served, 1e-30), PAPER.delay_cap_ms)
    assert kpis.delay_ms[has_users] == pytest.approx(expected_ms[has_users])
    assert kpis.load == pytest.approx(kpis.prb_ratio * kpis.utilisation)
    assert (kpis.sinr_db_p10 <= kpis.sinr_db_p50).all()
    assert (kpis.sinr_db_p50 <= kpis.sinr_db_p90).all()
    rate_mbps = np.array([spec.traffic.rate_kbps / 1e3 for spec in PAPER.slices])
    assert kpis.demand_mbps == pytest.approx(kpis.users * rate_mbps)
    assert kpis.required_share == pytest.approx(kpis.demand_mbps * kpis.mean_inverse_rate)


def test_the_harmonic_mean_of_rates_is_below_the_arithmetic_mean(simulator, equal_split):
    """With more than five UEs in a slice, rates differ, so that the inequality is strict."""
    kpis = simulator.step(equal_split)
    has_many_ues = kpis.users > 5
    harmonic = 1 / kpis.mean_inverse_rate[has_many_ues]
    assert (harmonic < kpis.mean_rate_mbps[has_many_ues]).all()


def test_demand_is_known_before_the_step(simulator, equal_split):
    expected = simulator.demand_mbps
    assert np.array_equal(simulator.step(equal_split).demand_mbps, expected)


def test_loads_of_a_step_agree_with_the_bracketed_fixed_point(simulator, bracket):
    for split in splits(8, 40):
        low, high = bracket(simulator, split)
        share = simulator.normalise_prb_ratio(split)
        assert (share * (high.utilisation - low.utilisation)).max() < 1e-6
        load = simulator.step(split).load
        assert np.abs(load - share * low.utilisation).max() < 3e-3
        assert simulator.fixed_point.residual <= 1e-3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cell=st.integers(0, 11), chosen=st.integers(0, 3))
def test_more_prbs_never_lower_a_slices_throughput(seed, cell, chosen):
    """Under random placement, because interference does not depend on where the PRBs are."""
    scenario = replace(PAPER, radio=RadioSpec(placement="random"))
    simulator = Simulator(scenario, seed, map_seed=0)
    split = splits(seed, 1)[0]
    more = split.copy()
    more[cell] *= 0.9
    more[cell, chosen] += 0.1
    before, after = (simulator.evaluate(s).throughput_mbps[cell, chosen] for s in (split, more))
    assert after >= 0.99 * before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([np.nan, 1, 1, 1], "prb_ratio of cell_3: expected finite weights"),
        ([np.inf, 1, 1, 1], "prb_ratio of cell_3"),
        ([-0.1, 1, 1, 1], "prb_ratio of cell_3: .* none negative"),
        ([0, 0, 0, 0], "prb_ratio of cell_3: .* positive sum"),
    ],
)
def test_an_invalid_split_raises_an_error_with_its_cell_and_changes_nothing(
    simulator, equal_split, row, message
):
    before = simulator.evaluate(equal_split)
    bad = equal_split.copy()
    bad[2] = row
    with pytest.raises(ValueError, match=message) as error:
        simulator.step(bad)
    assert "\n" not in str(error.value)
    assert equal_kpis(simulator.evaluate(equal_split), before)


def test_a_split_of_the_wrong_shape_raises_an_error(simulator):
    with pytest.raises(ValueError, match=r"expected shape \(12, 4\), got \(12, 3\)"):
        simulator.step(np.ones((12, 3)))


def test_weights_are_scaled_to_a_sum_of_one(simulator, equal_split):
    weights = np.tile([1.0, 2.0, 3.0, 4.0], (12, 1))
    assert simulator.step(weights).prb_ratio == pytest.approx(weights / 10)


def test_a_cell_under_the_default_action_has_equal_shares(simulator):
    simulator.set_phase("cell_2", Phase.DEFAULT)
    weights = np.tile([1.0, 0, 0, 0], (12, 1))
    weights[1] = np.nan
    applied = simulator.step(weights).prb_ratio
    assert applied[1].tolist() == [0.25] * 4
    assert applied[0].tolist() == [1, 0, 0, 0]


def test_ues_of_a_cell_that_is_off_attach_to_other_cells(simulator, equal_split):
    before = simulator.evaluate(equal_split)
    simulator.set_phase("cell_5", Phase.OFF)
    after = simulator.step(equal_split)

    assert before.users[4].sum() > 0
    assert after.users[4].sum() == 0
    assert after.users.sum() == before.users.sum()
    assert after.load[4].sum() == 0
    assert after.prb_ratio[4].sum() == 0
    assert after.phase.tolist() == [2] * 4 + [0] + [2] * 7
    assert 4 not in simulator.serving_map()


def test_ues_return_to_a_cell_that_is_switched_on_again(simulator, equal_split):
    simulator.set_phase(4, Phase.OFF)
    simulator.step(equal_split)
    simulator.set_phase(4, Phase.CONTROLLED)
    assert simulator.step(equal_split).users[4].sum() > 0


def test_a_cell_that_is_off_does_not_interfere(busy, equal_split):
    simulator = Simulator(busy, 0, map_seed=0)
    before = simulator.evaluate(equal_split)
    simulator.set_phase("cell_1", Phase.OFF)
    active_ues = simulator.active_ues
    compute_interference = simulator._placement.interference(
        active_ues, simulator.normalise_prb_ratio(equal_split)
    )
    only_cell_1 = np.zeros((12, 4))
    only_cell_1[0] = 1.0
    interference = compute_interference(only_cell_1)
    assert (interference <= 0.05 * active_ues.snr[:, 1:].sum(axis=1) + 1e-9).all()
    assert before.users[0].sum() > 0


def test_all_cells_can_be_off(simulator, equal_split):
    for cell in PAPER.cells:
        simulator.set_phase(cell, Phase.OFF)
    kpis = simulator.step(equal_split)
    assert kpis.users.sum() == 0
    assert all(np.isfinite(column).all() for column in kpis)
    simulator.set_phase("cell_1", Phase.CONTROLLED)
    assert simulator.step(equal_split).users[0].sum() > 0


def test_an_unknown_cell_raises_an_error(simulator):
    for cell in ("cell_13", 12, -1):
        with pytest.raises(ValueError, match="cell: expected one of cell_1 to cell_12, got"):
            simulator.set_phase(cell, Phase.OFF)


def test_a_slice_without_ues_meets_its_sla(paper, equal_split):
    idle = replace(paper, mask=SyntheticMask(low=0.0, high=0.0))
    kpis = Simulator(idle, 0, map_seed=0).step(equal_split)
    assert kpis.users.sum() == 0
    assert (kpis.throughput_mbps >= paper.sla_throughput_mbps).all()
    assert (kpis.delay_ms == 0).all()
    assert (kpis.required_share == 0).all()
    assert (kpis.mean_inverse_rate == 0).all()
    assert (kpis.mean_rate_mbps > 0).all()
    assert (kpis.load == 0).all()
    assert all(np.isfinite(column).all() for column in kpis)


def test_traffic_of_neighbours_lowers_the_rates_of_every_cell(paper, equal_split):
    """On the torus no cell is at an edge."""
    calm = replace(paper, radio=RadioSpec(idle_load=0.0))
    quiet, loud = (replace(calm, slices=scale_traffic(paper, factor)) for factor in (0.01, 3.0))
    rates = [
        Simulator(scenario, 0, map_seed=0).step(equal_split).mean_rate_mbps
        for scenario in (quiet, loud)
    ]
    assert (rates[1].mean(axis=1) < 0.9 * rates[0].mean(axis=1)).all()


def scale_traffic(scenario, factor: float):
    return tuple(
        replace(spec, traffic=replace(spec.traffic, rate_kbps=factor * spec.traffic.rate_kbps))
        for spec in scenario.slices
    )


@pytest.mark.parametrize("placement", ["contiguous", "random"])
@pytest.mark.parametrize("link", ["shannon", "cqi"])
def test_every_placement_and_link_gives_finite_kpis(placement, link, equal_split):
    scenario = replace(PAPER, radio=RadioSpec(placement=placement, link=link))
    simulator = Simulator(scenario, 0, map_seed=0)
    for split in splits(11, 5):
        kpis = simulator.step(split)
    assert all(np.isfinite(column).all() for column in kpis)
    assert kpis.users.sum() > 0


def test_a_network_between_walls(paper):
    sites = tuple(
        SiteSpec(x_m=x, y_m=y, sla_groups=("A",) * 3) for x, y in ((0.0, 0.0), (450.0, 120.0))
    )
    scenario = replace(paper, layout=SiteList(sites=sites))
    simulator = Simulator(scenario, 0)
    for _ in range(20):
        kpis = simulator.step(np.ones((6, 4)))
    assert kpis.users.sum() > 0
    assert simulator.serving_map().max() == 5
