"""Scenarios by name."""

from collections.abc import Callable
from dataclasses import replace

from slicing_rllib.radio.antenna import ColumnAntenna
from slicing_rllib.radio.scenario import (
    IndoorSpec,
    RadioSpec,
    Scenario,
    SlaGroup,
    SliceSla,
    SliceSpec,
    TrafficSpec,
)
from slicing_rllib.radio.sites import (
    HexagonalCluster,
    HexagonalGrid,
    MastSpec,
    SiteList,
    SiteSpec,
)
from slicing_rllib.radio.traffic import SyntheticMask


def paper() -> Scenario:
    """The paper's network: 4 wrapped three-sector sites, 4 slices, two groups of cells.

    Rates, packet sizes and mask are fitted to the paper's traffic-aware baseline and to the oracle,
    on 2026-11-23 by `slicing-rllib bench calibrate-traffic` (then rounded), before any policy had
    been trained on them. They are not to be touched in the light of how one does.
    """
    return Scenario(
        name="paper",
        layout=HexagonalGrid(rows=2, columns=2, sla_groups=("A", "B")),
        slices=(
            _slice("slice_1", rate_kbps=227, packet_kbit=2.25),
            _slice("slice_2", rate_kbps=188, packet_kbit=1.7),
            _slice("slice_3", rate_kbps=148, packet_kbit=0.85),
            _slice("slice_4", rate_kbps=108, packet_kbit=0.28),
        ),
        sla_groups=(
            _group("A", throughputs_mbps=(4, 3, 2, 1), delays_ms=(3, 2, 1, 1)),
            _group("B", throughputs_mbps=(2.5, 2, 1.5, 1), delays_ms=(1, 1, 1, 1)),
        ),
        mask=SyntheticMask(low=0.32, high=0.685, ripple=0.077),
    )


def mixed() -> Scenario:
    """Twelve cells no two of which are alike, with the paper's slices and traffic per UE.

    What differs, and does not follow from one another: where masts stand (a pair 294 m apart, two
    more alone) and how high, tilted, turned and strong they are; how busy a cell is; when its busy
    hour comes; and which of three SLA groups it belongs to, every site having one cell of each.
    Cells of one group differ twofold in load and lie half a day apart, while cells of other groups
    match them in both: whom to learn from cannot be read off the SLA. A cell's own load says little
    about its neighbours', so that messages can matter.
    """
    network = paper()
    return replace(
        network,
        name="mixed",
        slices=tuple(replace(spec, users=44) for spec in network.slices),
        layout=SiteList(sites=_MIXED_SITES, torus_m=((1100.0, 0.0), (0.0, 900.0))),
        sla_groups=(
            *network.sla_groups,
            _group("C", throughputs_mbps=(1.5, 1.5, 3, 2), delays_ms=(4, 2, 1.5, 0.8)),
        ),
        mask=replace(
            network.mask,
            cells_ripple_apart=True,
            cell_levels=(1.4, 1.0, 1.1, 1.45, 1.45, 1.3, 0.77, 0.54, 0.55, 0.7, 0.8, 0.87),
            cell_turns=(0.0, 0.35, 0.6, 0.1, 0.45, 0.8, 0.25, 0.15, 0.05, 0.55, 0.9, 0.65),
        ),
    )


_MIXED_SITES = (
    SiteSpec(x_m=190.0, y_m=240.0, mast=MastSpec(tilt_deg=10.0), sla_groups=("A", "B", "C")),
    SiteSpec(
        x_m=480.0,
        y_m=290.0,
        mast=MastSpec(height_m=20.0, tilt_deg=10.0, power_dbm=43.0),
        sla_groups=("B", "C", "A"),
    ),
    SiteSpec(
        x_m=880.0,
        y_m=520.0,
        mast=MastSpec(height_m=32.0, tilt_deg=6.0, azimuths_deg=(0.0, 110.0, 245.0)),
        sla_groups=("A", "C", "B"),
    ),
    SiteSpec(
        x_m=330.0,
        y_m=720.0,
        mast=MastSpec(tilt_deg=7.0, azimuths_deg=(60.0, 180.0, 300.0)),
        sla_groups=("C", "A", "B"),
    ),
)


def tr36873_uma() -> Scenario:
    """3GPP's 3D-UMa calibration: 19 wrapped sites, 2 GHz, ten elements, most UEs indoors."""
    return Scenario(
        name="tr36873_uma",
        layout=HexagonalCluster(
            rings=2,
            site_distance_m=500.0,
            mast=MastSpec(height_m=25.0, tilt_deg=12.0),
            sla_groups=("A",),
        ),
        slices=paper().slices,
        sla_groups=paper().sla_groups[:1],
        radio=RadioSpec(
            carrier_hz=2e9,
            environment="tr36873_uma",
            site_correlation=0.0,
            antenna=ColumnAntenna(elements=10),
            min_distance_m=35.0,
        ),
        indoor=IndoorSpec(share=0.8),
    )


def hexagonal(rows: int, columns: int, *, like: Scenario) -> Scenario:
    """A scenario on a wrapped grid of that many sites, its masts and SLA groups as in `like`.

    Raises: ValueError unless `like` itself is on a grid.
    """
    if not isinstance(like.layout, HexagonalGrid):
        raise ValueError(f"hexagonal: expected a scenario on a grid, got {like.name!r}")
    layout = replace(like.layout, rows=rows, columns=columns)
    return replace(like, name=f"{like.name}_{rows}x{columns}", layout=layout)


BUILT_IN: dict[str, Callable[[], Scenario]] = {
    "paper": paper,
    "mixed": mixed,
    "tr36873_uma": tr36873_uma,
}


def built_in(name: str) -> Scenario:
    """The scenario of that name.

    Raises: ValueError for a name that is not in BUILT_IN.
    """
    if name not in BUILT_IN:
        raise ValueError(f"scenario: expected one of {', '.join(BUILT_IN)}, got {name!r}")
    return BUILT_IN[name]()


def _slice(name: str, *, rate_kbps: float, packet_kbit: float) -> SliceSpec:
    return SliceSpec(name=name, traffic=TrafficSpec(rate_kbps=rate_kbps, packet_kbit=packet_kbit))


def _group(
    name: str, *, throughputs_mbps: tuple[float, ...], delays_ms: tuple[float, ...]
) -> SlaGroup:
    promises = tuple(
        SliceSla(throughput_mbps=throughput_mbps, delay_ms=delay_ms)
        for throughput_mbps, delay_ms in zip(throughputs_mbps, delays_ms, strict=True)
    )
    return SlaGroup(name=name, slices=promises)
