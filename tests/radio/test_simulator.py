"""The simulator as its callers see it."""

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
    built_in,
    hexagonal,
)
from slicing_rllib.radio.queueing import served_share

PAPER = built_in("paper")


def splits(seed: int, steps: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(4), (steps, 12))


def equal_kpis(some, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def test_equal_seeds_give_equal_bits():
    runs = [Simulator(PAPER, 5, map_seed=0) for _ in range(2)]
    for split in splits(0, 30):
        assert equal_kpis(runs[0].step(split), runs[1].step(split))


def test_other_seeds_give_other_networks(equal_split):
    one, two = (Simulator(PAPER, seed, map_seed=0) for seed in (5, 6))
    assert not np.array_equal(one.demand_mbps, two.demand_mbps)
    assert np.array_equal(one.serving_map(), two.serving_map())


def test_a_reset_starts_the_same_seed_over_on_the_same_map(simulator):
    first = [simulator.step(split) for split in splits(1, 10)]
    simulator.reset(5)
    again = [simulator.step(split) for split in splits(1, 10)]
    assert all(equal_kpis(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("steps", [0, 1, 17, 130])
def test_restored_it_goes_on_bit_for_bit(simulator, steps):
    for split in splits(2, steps):
        simulator.step(split)
    simulator.set_phase("cell_4", Phase.OFF)
    state = simulator.state()
    expected = [simulator.step(split) for split in splits(3, 40)]

    other = Simulator(PAPER, 99, map_seed=0)
    other.restore(state)
    found = [other.step(split) for split in splits(3, 40)]
    assert all(equal_kpis(a, b) for a, b in zip(expected, found, strict=True))


def test_taking_the_state_disturbs_nothing(simulator):
    twin = Simulator(PAPER, 5, map_seed=0)
    for split in splits(4, 20):
        simulator.state()
        assert equal_kpis(simulator.step(split), twin.step(split))


def test_evaluating_is_stepping_without_going_on(simulator):
    twin = Simulator(PAPER, 5, map_seed=0)
    for split, other in zip(splits(4, 20), splits(5, 20), strict=True):
        simulator.evaluate(other)
        assert equal_kpis(simulator.evaluate(split), simulator.step(split))
        twin.step(split)
    assert equal_kpis(simulator.evaluate(split), twin.evaluate(split))


def test_a_result_is_the_callers_to_keep(simulator, equal_split):
    kept = simulator.step(equal_split)
    copy = [np.array(column) for column in kept]
    for split in splits(6, 5):
        simulator.step(split)
    assert equal_kpis(kept, copy)


def test_kpis_are_those_of_the_stated_model(simulator):
    for split in splits(7, 60):
        kpis = simulator.step(split)
    some = kpis.users > 0
    served = served_share(kpis.prb_ratio, kpis.required_share)
    assert (kpis.throughput_mbps == pytest.approx(kpis.mean_rate_mbps * served)) or not some.all()
    work = kpis.packet_kbit * kpis.mean_inverse_rate
    expected_ms = np.minimum(work / np.maximum(served, 1e-30), PAPER.delay_cap_ms)
    assert kpis.delay_ms[some] == pytest.approx(expected_ms[some])
    assert kpis.load == pytest.approx(kpis.prb_ratio * kpis.utilisation)
    assert (kpis.sinr_db_p10 <= kpis.sinr_db_p50).all()
    assert (kpis.sinr_db_p50 <= kpis.sinr_db_p90).all()
    rate_mbps = np.array([spec.traffic.rate_kbps / 1e3 for spec in PAPER.slices])
    assert kpis.demand_mbps == pytest.approx(kpis.users * rate_mbps)
    assert kpis.required_share == pytest.approx(kpis.demand_mbps * kpis.mean_inverse_rate)


def test_the_slices_rate_is_harmonic_in_its_ues_rates(simulator, equal_split):
    """One over the mean of inverses is below the mean: a far UE costs more than it seems."""
    kpis = simulator.step(equal_split)
    crowded = kpis.users > 5
    harmonic = 1 / kpis.mean_inverse_rate[crowded]
    assert (harmonic < kpis.mean_rate_mbps[crowded]).all()


def test_demand_is_known_before_the_split(simulator, equal_split):
    expected = simulator.demand_mbps
    assert np.array_equal(simulator.step(equal_split).demand_mbps, expected)


def test_usual_answers_lie_within_the_certified_bracket(simulator):
    for split in splits(8, 40):
        low, high = simulator.bracket(split)
        share = simulator.applied_ratio(split)
        assert (share * (high.utilisation - low.utilisation)).max() < 1e-6
        load = simulator.step(split).load
        assert np.abs(load - share * low.utilisation).max() < 3e-3
        assert simulator.fixed_point.residual <= 1e-3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cell=st.integers(0, 11), chosen=st.integers(0, 3))
def test_more_prbs_never_lower_a_slices_throughput(seed, cell, chosen):
    """With random placement, where whom a slice meets does not depend on where it lies."""
    scenario = replace(PAPER, radio=RadioSpec(placement="random"))
    simulator = Simulator(scenario, seed, map_seed=0)
    split = splits(seed, 1)[0]
    more = split.copy()
    more[cell] *= 0.9
    more[cell, chosen] += 0.1
    before, after = (simulator.evaluate(s).throughput_mbps[cell, chosen] for s in (split, more))
    assert after >= 0.99 * before


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([np.nan, 1, 1, 1], "prb_ratio of cell_3: expected finite weights"),
        ([np.inf, 1, 1, 1], "prb_ratio of cell_3"),
        ([-0.1, 1, 1, 1], "prb_ratio of cell_3: .* none negative"),
        ([0, 0, 0, 0], "prb_ratio of cell_3: .* positive sum"),
    ],
)
def test_a_bad_split_names_its_cell_and_changes_nothing(simulator, equal_split, row, complaint):
    before = simulator.evaluate(equal_split)
    bad = equal_split.copy()
    bad[2] = row
    with pytest.raises(ValueError, match=complaint) as refusal:
        simulator.step(bad)
    assert "\n" not in str(refusal.value)
    assert equal_kpis(simulator.evaluate(equal_split), before)


def test_a_split_of_the_wrong_shape_is_refused(simulator):
    with pytest.raises(ValueError, match=r"expected shape \(12, 4\), got \(12, 3\)"):
        simulator.step(np.ones((12, 3)))


def test_weights_are_scaled_to_a_sum_of_one(simulator, equal_split):
    weights = np.tile([1.0, 2.0, 3.0, 4.0], (12, 1))
    assert simulator.step(weights).prb_ratio == pytest.approx(weights / 10)


def test_a_cell_under_default_splits_equally_whatever_it_asks_for(simulator):
    simulator.set_phase("cell_2", Phase.DEFAULT)
    asked = np.tile([1.0, 0, 0, 0], (12, 1))
    asked[1] = np.nan
    applied = simulator.step(asked).prb_ratio
    assert applied[1].tolist() == [0.25] * 4
    assert applied[0].tolist() == [1, 0, 0, 0]


def test_users_of_a_cell_that_is_off_attach_elsewhere(simulator, equal_split):
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


def test_a_cell_that_comes_back_is_used_again(simulator, equal_split):
    simulator.set_phase(4, Phase.OFF)
    simulator.step(equal_split)
    simulator.set_phase(4, Phase.CONTROLLED)
    assert simulator.step(equal_split).users[4].sum() > 0


def test_a_cell_that_goes_off_takes_its_interference_with_it(busy, equal_split):
    simulator = Simulator(busy, 0, map_seed=0)
    before = simulator.evaluate(equal_split)
    simulator.set_phase("cell_1", Phase.OFF)
    received = simulator.received
    meet = simulator._placement.interference(received, simulator.applied_ratio(equal_split))
    only_one = np.zeros((12, 4))
    only_one[0] = 1.0
    quiet = meet(only_one)
    assert (quiet <= 0.05 * received.snr[:, 1:].sum(axis=1) + 1e-9).all()
    assert before.users[0].sum() > 0


def test_a_network_may_be_off_altogether(simulator, equal_split):
    for cell in PAPER.cells:
        simulator.set_phase(cell, Phase.OFF)
    kpis = simulator.step(equal_split)
    assert kpis.users.sum() == 0
    assert all(np.isfinite(column).all() for column in kpis)
    simulator.set_phase("cell_1", Phase.CONTROLLED)
    assert simulator.step(equal_split).users[0].sum() > 0


def test_an_unknown_cell_is_named(simulator):
    for cell in ("cell_13", 12, -1):
        with pytest.raises(ValueError, match="cell: expected one of cell_1 to cell_12, got"):
            simulator.set_phase(cell, Phase.OFF)


def test_an_empty_slice_is_satisfied_and_finite(paper, equal_split):
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


def test_a_mask_switches_users_but_moves_nobody(simulator, equal_split):
    """From step to step nobody moves farther than 30 km/h allows, active or not."""
    edges = np.array(PAPER.ground.edges_m)
    for split in splits(9, 50):
        before = simulator._users.place.copy()
        simulator.step(split)
        turns = simulator._users.place - before
        moved_m = np.linalg.norm((turns - np.round(turns)).T @ edges, axis=1)
        assert moved_m.max() <= 30 / 3.6 * PAPER.step_s + 1e-6


def test_users_are_served_by_the_strongest_cell_give_or_take_the_hysteresis(simulator):
    for split in splits(10, 30):
        simulator.step(split)
    received = simulator.received
    assert (received.signal >= received.snr.max(axis=1) / 10**0.2 - 1e-9).all()


def test_a_neighbours_traffic_lowers_everybodys_rates(paper, equal_split):
    """Edge cells too: on the torus every cell has neighbours all around."""
    calm = replace(paper, radio=RadioSpec(idle_load=0.0))
    quiet, loud = (replace(calm, slices=heavier(paper, factor)) for factor in (0.01, 3.0))
    rates = [
        Simulator(scenario, 0, map_seed=0).step(equal_split).mean_rate_mbps
        for scenario in (quiet, loud)
    ]
    assert (rates[1].mean(axis=1) < 0.9 * rates[0].mean(axis=1)).all()


def heavier(scenario, factor: float):
    return tuple(
        replace(spec, traffic=replace(spec.traffic, rate_kbps=factor * spec.traffic.rate_kbps))
        for spec in scenario.slices
    )


def test_the_delay_cap_does_not_reach_into_usual_delays(paper, equal_split):
    """Delays below a cap are the same under a higher one."""
    low, high = (replace(paper, delay_cap_ms=cap) for cap in (50.0, 500.0))
    delays = [Simulator(s, 0, map_seed=0).step(equal_split).delay_ms for s in (low, high)]
    assert np.array_equal(delays[0], np.minimum(delays[1], 50.0))


@pytest.mark.parametrize("placement", ["contiguous", "random"])
@pytest.mark.parametrize("link", ["shannon", "cqi"])
def test_both_placements_and_links_run(placement, link, equal_split):
    scenario = replace(PAPER, radio=RadioSpec(placement=placement, link=link))
    simulator = Simulator(scenario, 0, map_seed=0)
    for split in splits(11, 5):
        kpis = simulator.step(split)
    assert all(np.isfinite(column).all() for column in kpis)
    assert kpis.users.sum() > 0


def test_between_walls_too(paper):
    sites = tuple(
        SiteSpec(x_m=x, y_m=y, sla_groups=("A",) * 3) for x, y in ((0.0, 0.0), (450.0, 120.0))
    )
    scenario = replace(paper, layout=SiteList(sites=sites))
    simulator = Simulator(scenario, 0)
    for _ in range(20):
        kpis = simulator.step(np.ones((6, 4)))
    assert kpis.users.sum() > 0
    assert simulator.serving_map().max() == 5


def test_a_larger_grid_runs(paper):
    scenario = hexagonal(3, 2, like=paper)
    kpis = Simulator(scenario, 0).step(np.ones((18, 4)))
    assert kpis.users.shape == (18, 4)
