"""The network that is scheduled in every TTI."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.radio import (
    HexagonalCluster,
    MastSpec,
    MobilitySpec,
    Phase,
    Scenario,
    SliceSpec,
    StepKpis,
    SyntheticMask,
    TrafficSpec,
    TtiLevel,
    make_scenario,
    tti_network,
)
from slicing_rllib.radio.tti_network import ServedStep, TtiNetwork, find_leaving_tti

TTI = make_scenario("tti")
EQUAL = np.full((3, 4), 0.25)
PEAK_MBPS = 5.5547 * 18.0 * (168 / 180) * 0.75
"""Of the highest CQI on the whole carrier of 18 MHz."""


def step_often(network: TtiNetwork, split: np.ndarray, steps: int) -> StepKpis:
    """Each KPI of several steps, on a leading axis."""
    kpis = [network.step(split) for _ in range(steps)]
    return StepKpis(*map(np.stack, zip(*kpis, strict=True)))


def make_lone_ue(rate_kbps: float, packet_kbit: float, n_slices: int = 1) -> Scenario:
    """One cell of so much power that nothing is ever lost, and one UE that does not move in each
    slice; all packets have the same size."""
    traffic = TrafficSpec(rate_kbps=rate_kbps, packet_kbit=packet_kbit)
    slices = tuple(SliceSpec(name=f"s{n}", users=1, traffic=traffic) for n in range(n_slices))
    groups = tuple(replace(group, slices=group.slices[:n_slices]) for group in TTI.sla_groups)
    mast = MastSpec(power_dbm=150.0, azimuths_deg=(0.0,))
    return replace(
        TTI,
        layout=HexagonalCluster(rings=0, mast=mast, sla_groups=("A",)),
        slices=slices,
        sla_groups=groups,
        mask=SyntheticMask(low=1.0, high=1.0),
        mobility=MobilitySpec(min_speed_kmh=0, max_speed_kmh=0),
        network=TtiLevel(kind="tti", packet_sigma=0.0, discard_ms=1e6),
    )


def test_a_lone_ue_with_data_all_the_time_gets_the_peak_rate():
    network = TtiNetwork(make_lone_ue(200_000, 500), 0)
    kpis = step_often(network, np.ones((1, 1)), 4)
    assert kpis.throughput_mbps[1:] == pytest.approx(PEAK_MBPS)
    assert kpis.load[1:] == pytest.approx(1.0)


def test_two_such_ues_get_the_peak_rate_times_their_slices_shares():
    network = TtiNetwork(make_lone_ue(200_000, 500, n_slices=2), 0)
    kpis = step_often(network, np.array([[0.3, 0.7]]), 10)
    rates = kpis.throughput_mbps[1:, 0].mean(axis=0)
    assert rates == pytest.approx([0.3 * PEAK_MBPS, 0.7 * PEAK_MBPS], rel=0.01)
    assert kpis.load[1:, 0].mean(axis=0) == pytest.approx([0.3, 0.7], abs=0.005)


def test_a_lone_packet_takes_as_many_ttis_as_its_bits_need():
    """The carrier takes 70.0 kbit per TTI, so 100 kbit need two: 2 ms, at 50 Mbit/s."""
    network = TtiNetwork(make_lone_ue(500, 100), 0)
    kpis = step_often(network, np.ones((1, 1)), 60)
    carried = kpis.demand_mbps > 0
    assert np.median(kpis.delay_ms[carried]) == pytest.approx(2.0)
    assert np.median(kpis.throughput_mbps[carried]) == pytest.approx(50.0)


def test_what_has_arrived_is_sent_or_waits(monkeypatch: pytest.MonkeyPatch):
    """Also where UEs hand over and slices are overloaded."""
    sent = []

    class Recorded(ServedStep):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            sent.append(self.total.sum())

    monkeypatch.setattr(tti_network, "ServedStep", Recorded)
    network = TtiNetwork(replace(TTI, network=TtiLevel(kind="tti", discard_ms=1e6)), 0)
    kpis = step_often(network, np.array([[0.02, 0.48, 0.3, 0.2]] * 3), 8)
    arrived = kpis.demand_mbps.sum() * 1e3 * TTI.step_s
    waits = network.state()["queues_kbit"].sum()
    assert waits > 0.05 * arrived
    assert sum(sent) + waits == pytest.approx(arrived)


def test_shares_are_obeyed():
    split = np.array([[0.07, 0.23, 0.33, 0.37]] * 3)
    kpis = step_often(TtiNetwork(TTI, 0), split, 6)
    assert (kpis.load.mean(axis=0) <= split + 0.01).all()
    assert kpis.prb_ratio[0] == pytest.approx(split)
    busy = kpis.utilisation > 0.999
    assert busy.any()
    assert kpis.load[busy] == pytest.approx(np.broadcast_to(split, busy.shape)[busy], abs=0.02)


def test_more_of_the_carrier_gives_more_throughput_and_less_delay_on_average():
    means = []
    for share in (0.1, 0.3, 0.6):
        split = np.array([[share, *[(1 - share) / 3] * 3]] * 3)
        kpis = step_often(TtiNetwork(TTI, 1), split, 6)
        means.append((kpis.throughput_mbps[..., 0].mean(), kpis.delay_ms[..., 0].mean()))
    throughput, delay = zip(*means, strict=True)
    assert list(throughput) == sorted(throughput)
    assert list(delay) == sorted(delay, reverse=True)


def test_equal_seeds_give_equal_kpis_and_a_saved_state_continues_bit_for_bit():
    first, second = TtiNetwork(TTI, 3, map_seed=0), TtiNetwork(TTI, 3, map_seed=0)
    for _ in range(2):
        for one, other in zip(first.step(EQUAL), second.step(EQUAL), strict=True):
            np.testing.assert_array_equal(one, other)
    restored = TtiNetwork(TTI, 0, map_seed=0)
    restored.restore(first.state())
    second.evaluate(EQUAL * [[1, 2, 3, 4]])
    for name, one, other, third in zip(
        StepKpis._fields, first.step(EQUAL), second.step(EQUAL), restored.step(EQUAL), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=name)
        np.testing.assert_array_equal(one, third, err_msg=name)


def test_a_cell_that_goes_off_hands_its_ues_and_their_queues_over():
    network = TtiNetwork(TTI, 0)
    step_often(network, EQUAL, 2)
    network.set_phase("cell_1", Phase.OFF)
    kpis = network.step(EQUAL)
    assert kpis.users[0].sum() == kpis.load[0].sum() == 0
    assert kpis.users[1:].sum() > 0
    assert np.isfinite(np.concatenate([np.ravel(values) for values in kpis])).all()


def test_kpis_are_those_that_were_recorded():
    """A change of these numbers changes every result in networks of this kind."""
    kpis = step_often(TtiNetwork(TTI, 0, map_seed=0), EQUAL, 3)
    recorded = {
        "throughput_mbps": [10.6204, 8.09654, 3.52561, 1.08275],
        "delay_ms": [92.6667, 2.66667, 2.94286, 1.71296],
        "load": [0.0874, 0.0078, 0.08, 0.0692],
    }
    for name, values in recorded.items():
        assert getattr(kpis, name)[2, 0] == pytest.approx(values, rel=1e-5)


def test_a_packet_leaves_in_the_tti_in_which_its_last_bit_is_sent():
    sent = np.array([[1.0, 0.0], [3.0, 2.0], [3.0, 2.0], [6.0, 2.0]])
    row, level = np.array([0, 0, 0, 1, 1]), np.array([1.0, 2.0, 6.0, 2.0, 3.0])
    assert find_leaving_tti(sent, row, level).tolist() == [0, 1, 3, 1, 3]


def test_what_needs_the_built_in_simulators_law_is_refused_or_left_out():
    assert SlicingEnv(TTI).counterfactual is None
    with pytest.raises(ValueError, match=r"oracle expects a network of kind system.* got tti"):
        make_policy("oracle", TTI, np.random.default_rng(0), map_seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": HexagonalCluster(rings=1, sla_groups=("A",))}, "at most .* 16 cells, got 21"),
        ({"step_s": 0.0005}, "steps of whole ms, got 0.0005 s"),
    ],
)
def test_networks_that_are_too_large_and_odd_steps_are_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        TtiNetwork(replace(TTI, **changes), 0)
