"""Networks that differ from `paper` in one property each, and from which nothing was ever learned.

They test what works where nobody trained: other slices, SLAs, spectrum, sites, UEs, load and
traffic. The last ones are served by another kind of network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from slicing_rllib.radio import Scenario, SyntheticMask, make_scenario
from slicing_rllib.radio.scenario import SlaGroup, SliceSla
from slicing_rllib.radio.sites import HexagonalCluster, HexagonalGrid, MastSpec
from slicing_rllib.radio.specs import IndoorSpec, MobilitySpec, RadioSpec, SliceSpec, TrafficSpec

PAPER = make_scenario("paper")
MASK = SyntheticMask(low=0.32, high=0.685, ripple=0.077)
"""That of `paper`."""
assert PAPER.mask == MASK


def make_networks() -> Mapping[str, Scenario]:
    """All networks by name: `paper`, 30 that differ from it, and those of kind tti."""
    networks = {"paper": PAPER, **_SLICES, **_SLAS, **_SPECTRUM, **_SITES, **_USERS, **_TRAFFIC}
    tti = make_scenario("tti")
    jumping = replace(tti.mask, ripple=0.25, ripple_period_steps=3.0)
    networks |= {"tti": tti, "tti with jumping traffic": replace(tti, mask=jumping)}
    return {name: replace(network, name=name) for name, network in networks.items()}


def _change(**changes: Any) -> Scenario:
    return replace(PAPER, **changes)


def _make_slices(
    users: int | Sequence[int], rate_kbps: Sequence[float], packet_kbit: Sequence[float]
) -> tuple[SliceSpec, ...]:
    counts = [users] * len(rate_kbps) if isinstance(users, int) else users
    columns = zip(counts, rate_kbps, packet_kbit, strict=True)
    return tuple(
        SliceSpec(name=f"slice_{i}", users=n, traffic=TrafficSpec(rate_kbps=r, packet_kbit=p))
        for i, (n, r, p) in enumerate(columns, 1)
    )


def _make_slas(throughput_mbps: Sequence[float], delay_ms: Sequence[float]) -> tuple[SlaGroup, ...]:
    """The same SLAs in both groups of the layout."""
    slices = tuple(
        SliceSla(throughput_mbps=t, delay_ms=d)
        for t, d in zip(throughput_mbps, delay_ms, strict=True)
    )
    return tuple(SlaGroup(name=name, slices=slices) for name in ("A", "B"))


def _scale_rates(scenario: Scenario, factor: float, users: int | None = None) -> Scenario:
    """The same slices with other rates per UE, and another number of UEs where it is given."""
    return replace(
        scenario,
        slices=tuple(
            replace(
                spec,
                users=users or spec.users,
                traffic=replace(spec.traffic, rate_kbps=spec.traffic.rate_kbps * factor),
            )
            for spec in scenario.slices
        ),
    )


def _grid(site_distance_m: float, **mast: float) -> HexagonalGrid:
    mast_spec = MastSpec(**mast)  # pyright: ignore[reportArgumentType]
    return HexagonalGrid(
        rows=2, columns=2, site_distance_m=site_distance_m, sla_groups=("A", "B"), mast=mast_spec
    )


def _cluster(rings: int) -> HexagonalCluster:
    return HexagonalCluster(rings=rings, site_distance_m=500.0, sla_groups=("A", "B"))


_SLICES = {
    "2 slices": _change(
        slices=_make_slices(32, (450, 330), (2, 0.6)), sla_groups=_make_slas((3, 1.5), (2, 1))
    ),
    "3 slices": _change(
        slices=_make_slices(32, (300, 250, 150), (2.5, 1, 0.3)),
        sla_groups=_make_slas((3.5, 2, 1), (3, 1.5, 1)),
    ),
    "6 slices": _change(
        slices=_make_slices(20, (230, 200, 180, 150, 120, 100), (2.2, 1.7, 1.2, 0.9, 0.6, 0.3)),
        sla_groups=_make_slas((2.5, 2, 1.5, 1.5, 1, 0.8), (4, 3, 2, 2, 1.5, 1.5)),
    ),
    "8 slices": _change(
        slices=_make_slices(
            16, (200, 180, 170, 150, 140, 120, 100, 90), (2, 1.8, 1.5, 1.2, 0.9, 0.7, 0.5, 0.3)
        ),
        sla_groups=_make_slas((2, 1.8, 1.5, 1.5, 1.2, 1, 0.8, 0.5), (5, 4, 4, 3, 3, 2, 2, 2)),
    ),
}
_SLAS = {
    "tight SLAs": _change(sla_groups=_make_slas((8, 6, 4, 2), (1.5, 1, 0.5, 0.5))),
    "loose SLAs": _change(sla_groups=_make_slas((1.2, 1, 0.6, 0.3), (12, 10, 6, 6))),
    "unequal SLAs": _change(sla_groups=_make_slas((12, 0.2, 3, 0.05), (20, 0.4, 50, 5))),
    "delay alone": _change(sla_groups=_make_slas((0.05,) * 4, (3, 2, 1, 0.4))),
    "throughput alone": _change(sla_groups=_make_slas((5, 3.5, 2.5, 1.5), (90,) * 4)),
}
_SPECTRUM = {
    "5 MHz": _scale_rates(
        _change(
            radio=RadioSpec(n_prbs=25), sla_groups=_make_slas((1.2, 0.9, 0.6, 0.3), (10, 7, 4, 4))
        ),
        0.25,
    ),
    "100 MHz": _scale_rates(
        _change(
            radio=RadioSpec(n_prbs=273, prb_hz=360e3, carrier_hz=3.5e9),
            sla_groups=_make_slas((20, 15, 10, 5), (0.6, 0.4, 0.2, 0.2)),
        ),
        5.2,
    ),
}
_SITES = {
    "1 site": _change(layout=_cluster(0)),
    "7 sites": _change(layout=_cluster(1)),
    "19 sites": _change(layout=_cluster(2)),
    "rural": _change(layout=_grid(1732.0, height_m=35.0), radio=RadioSpec(carrier_hz=7e8)),
    "dense": _change(
        layout=_grid(200.0, height_m=10.0),
        radio=RadioSpec(carrier_hz=3.5e9, min_distance_m=10.0, environment="winner_b1"),
    ),
    "TR 38.901 UMa": _change(radio=RadioSpec(environment="tr38901_uma", carrier_hz=3.5e9)),
    "TR 38.901 UMi indoors": _change(
        layout=_grid(200.0, height_m=10.0),
        radio=RadioSpec(environment="tr38901_umi", min_distance_m=10.0, carrier_hz=3.5e9),
        indoor=IndoorSpec(share=0.8),
    ),
}
_USERS = {
    "3 heavy UEs": _scale_rates(PAPER, 32 / 3 * 1.42, users=3),
    "2 to 200 UEs": _scale_rates(
        _change(
            slices=_make_slices((2, 8, 50, 200), (2500, 800, 100, 12), (6, 2, 0.8, 0.2)),
            sla_groups=_make_slas((5, 3, 2, 1), (4, 2, 1, 1)),
        ),
        1.33,
    ),
    "300 UEs": _scale_rates(PAPER, 32 / 300, users=300),
    "fast UEs": _change(mobility=MobilitySpec(min_speed_kmh=60, max_speed_kmh=120)),
}
_TRAFFIC = {
    "1.6 times the load": _scale_rates(PAPER, 1.6),
    "3 times the load": _scale_rates(PAPER, 3.0),
    "few active UEs": _change(mask=replace(MASK, low=0.02, high=0.09, ripple=0.03)),
    "0.3 times the load": _scale_rates(PAPER, 0.3),
    "jumping traffic": _scale_rates(
        _change(mask=replace(MASK, ripple=0.25, ripple_period_steps=3.0)), 0.87
    ),
    "cells apart": _change(
        mask=replace(MASK, cells_ripple_apart=True, cell_spread=1.0, ripple=0.15)
    ),
    "one elephant slice": _scale_rates(
        _change(
            slices=_make_slices(32, (620, 10, 10, 10), (12, 0.3, 0.3, 0.3)),
            sla_groups=_make_slas((4, 1, 1, 1), (8, 2, 2, 2)),
        ),
        1.54,
    ),
    "random PRBs with FIFO and CQI": _change(
        radio=RadioSpec(placement="random", link="cqi"), queue="fifo"
    ),
}
