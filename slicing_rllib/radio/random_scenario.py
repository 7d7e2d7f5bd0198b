"""Random networks: other distances, traffic, slice counts and SLAs than those of `paper`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slicing_rllib.radio.builtin import make_paper
from slicing_rllib.radio.scenario import Scenario, SlaGroup, SliceSla
from slicing_rllib.radio.sites import HexagonalGrid
from slicing_rllib.radio.slice_spec import SliceSpec, TrafficSpec
from slicing_rllib.radio.traffic import SyntheticMask

SLICE_COUNTS = (2, 3, 4, 6)
PAPER_TRAFFIC_KBPS = 32 * (227 + 188 + 148 + 108)
"""Offered traffic of a cell of `paper` when all its UEs are active, in kbit/s."""


def draw_scenario(
    rng: np.random.Generator, name: str, slice_counts: Sequence[int] = SLICE_COUNTS
) -> Scenario:
    """Four three-sector sites on a torus; everything else is drawn.

    Drawn are: number of slices (from `slice_counts`), site distance 350-700 m, offered traffic
    0.55-1.15 times that of `paper`, its split over slices, 16-48 UEs per slice, packets of
    0.25-3 kbit, throughput SLAs of 0.8-5 Mbit/s and delay SLAs of 0.8-5 ms in two groups
    (throughput scaled so that more slices need less each), and level, period and ripple of the
    activity mask.
    """
    n_slices = int(rng.choice(slice_counts))
    traffic_kbps = rng.uniform(0.55, 1.15) * PAPER_TRAFFIC_KBPS * rng.dirichlet([4.0] * n_slices)
    users = rng.integers(16, 49, n_slices)
    packets_kbit = _draw_log_uniform(rng, 0.25, 3.0, n_slices)
    slices = tuple(
        SliceSpec(
            name=f"slice_{index + 1}",
            traffic=TrafficSpec(
                rate_kbps=float(traffic_kbps[index] / users[index]),
                packet_kbit=float(packets_kbit[index]),
            ),
            users=int(users[index]),
        )
        for index in range(n_slices)
    )
    return replace(
        make_paper(),
        name=name,
        slices=slices,
        sla_groups=(_draw_sla_group(rng, "A", n_slices), _draw_sla_group(rng, "B", n_slices)),
        layout=HexagonalGrid(
            rows=2,
            columns=2,
            site_distance_m=float(rng.uniform(350.0, 700.0)),
            sla_groups=("A", "B"),
        ),
        mask=SyntheticMask(
            low=float(rng.uniform(0.15, 0.4)),
            high=float(rng.uniform(0.55, 0.8)),
            ripple=float(rng.uniform(0.03, 0.15)),
            period_steps=float(rng.uniform(100.0, 300.0)),
        ),
    )


def _draw_sla_group(rng: np.random.Generator, name: str, n_slices: int) -> SlaGroup:
    throughputs_mbps = _draw_log_uniform(rng, 0.8, 5.0, n_slices) * np.sqrt(4.0 / n_slices)
    delays_ms = _draw_log_uniform(rng, 0.8, 5.0, n_slices)
    slas = tuple(
        SliceSla(throughput_mbps=float(throughput_mbps), delay_ms=float(delay_ms))
        for throughput_mbps, delay_ms in zip(throughputs_mbps, delays_ms, strict=True)
    )
    return SlaGroup(name=name, slices=slas)


def _draw_log_uniform(rng: np.random.Generator, low: float, high: float, n: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), n))
