"""The built-in scenarios by name, and random ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.radio.antenna import ColumnAntenna
from slicing_rllib.radio.scenario import Scenario, SlaGroup, SliceSla
from slicing_rllib.radio.sites import HexagonalCluster, HexagonalGrid, MastSpec, SiteList, SiteSpec
from slicing_rllib.radio.specs import (
    IndoorSpec,
    MobilitySpec,
    RadioSpec,
    SliceSpec,
    TrafficSpec,
    TtiLevel,
)
from slicing_rllib.radio.traffic import SyntheticMask


def make_paper() -> Scenario:
    """The paper's network: 4 three-sector sites on a torus, 4 slices, two SLA groups.

    The paper does not give arrival rates, packet sizes or the mask. They were fitted once, on
    2026-11-23, by `tests/studies/test_study_traffic_fit.py`, and rounded. The fit used only the
    results of the paper's traffic-aware baseline and of the oracle, before any policy had been
    trained on this scenario. Do not change them because of the results of a learned policy.
    """
    return Scenario(
        name="paper",
        layout=HexagonalGrid(rows=2, columns=2, sla_groups=("A", "B")),
        slices=(
            _make_slice("slice_1", rate_kbps=227, packet_kbit=2.25),
            _make_slice("slice_2", rate_kbps=188, packet_kbit=1.7),
            _make_slice("slice_3", rate_kbps=148, packet_kbit=0.85),
            _make_slice("slice_4", rate_kbps=108, packet_kbit=0.28),
        ),
        sla_groups=(
            _make_sla_group("A", throughputs_mbps=(4, 3, 2, 1), delays_ms=(3, 2, 1, 1)),
            _make_sla_group("B", throughputs_mbps=(2.5, 2, 1.5, 1), delays_ms=(1, 1, 1, 1)),
        ),
        mask=SyntheticMask(low=0.32, high=0.685, ripple=0.077),
    )


def make_paper_pedestrian() -> Scenario:
    """`paper` with UEs at 3 km/h: a step tells more about the next one.

    The paper gives no speeds. Its learned policies do better beside its baseline than any does in
    `paper`, which a more predictable network explains in part (tune_configs/NOT_REPRODUCED.md).
    """
    speed_kmh = MobilitySpec(min_speed_kmh=3.0, max_speed_kmh=3.0)
    return replace(make_paper(), name="paper_pedestrian", mobility=speed_kmh)


def make_paper_100ms() -> Scenario:
    """`paper` in steps of 100 ms instead of 1 s, for the same reason as `paper_pedestrian`."""
    return replace(make_paper(), name="paper_100ms", step_s=0.1)


def make_mixed() -> Scenario:
    """Twelve cells that all differ, with the slices and the traffic per UE of `paper`.

    Five properties vary independently of each other: the positions of the sites (two of them
    294 m apart, the other two isolated), the masts (height, tilt, azimuths, power), the traffic
    level of a cell, the time of its busy hour, and its SLA group. Every site has one cell of each
    of the three SLA groups.

    Cells of one SLA group differ by a factor of two in load and by half a day in their busy hour,
    and cells of other groups match them in both, so the SLA does not determine the best source
    for a transfer. A cell's own load says little about its neighbours' load, so messages can
    carry information.
    """
    paper = make_paper()
    return replace(
        paper,
        name="mixed",
        slices=tuple(replace(spec, users=44) for spec in paper.slices),
        layout=SiteList(sites=_MIXED_SITES, torus_m=((1100.0, 0.0), (0.0, 900.0))),
        sla_groups=(
            *paper.sla_groups,
            _make_sla_group("C", throughputs_mbps=(1.5, 1.5, 3, 2), delays_ms=(4, 2, 1.5, 0.8)),
        ),
        mask=replace(
            paper.mask,
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


def make_tr36873_uma() -> Scenario:
    """3GPP's 3D-UMa calibration: 19 sites on a torus, 2 GHz, ten elements, 80 % of UEs indoors."""
    paper = make_paper()
    return Scenario(
        name="tr36873_uma",
        layout=HexagonalCluster(rings=2, mast=MastSpec(tilt_deg=12.0), sla_groups=("A",)),
        slices=paper.slices,
        sla_groups=paper.sla_groups[:1],
        radio=RadioSpec(
            carrier_hz=2e9,
            environment="tr36873_uma",
            site_correlation=0.0,
            antenna=ColumnAntenna(elements=10),
        ),
        indoor=IndoorSpec(share=0.8),
    )


def make_tti() -> Scenario:
    """One three-sector site that is scheduled in every TTI: files, video, interaction and control.

    Steps are short because they are expensive. The delay SLAs are 8 to 40 TTIs of 1 ms.
    """
    paper = make_paper()
    slices = (
        _make_slice("files", rate_kbps=180, packet_kbit=90),
        _make_slice("video", rate_kbps=135, packet_kbit=40),
        _make_slice("interactive", rate_kbps=78, packet_kbit=8),
        _make_slice("control", rate_kbps=36, packet_kbit=1.5),
    )
    return replace(
        paper,
        name="tti",
        layout=HexagonalCluster(rings=0, sla_groups=("A",)),
        slices=tuple(
            replace(spec, users=n) for spec, n in zip(slices, (24, 24, 32, 48), strict=True)
        ),
        sla_groups=(
            _make_sla_group("A", throughputs_mbps=(5, 3, 1.2, 0.3), delays_ms=(40, 25, 12, 8)),
        ),
        mask=replace(paper.mask, high=0.6, ripple=0.12),
        step_s=0.2,
        neighbours_kept="all",
        delay_cap_ms=1000.0,
        network=TtiLevel(kind="tti"),
    )


def make_hexagonal_scenario(rows: int, columns: int, *, like: Scenario) -> Scenario:
    """The scenario `like` on a hexagonal grid of `rows` x `columns` sites on a torus.

    Raises: ValueError unless `like` is on a hexagonal grid itself.
    """
    if not isinstance(like.layout, HexagonalGrid):
        raise ValueError(f"hexagonal: expected a scenario on a grid, got {like.name!r}")
    layout = replace(like.layout, rows=rows, columns=columns)
    return replace(like, name=f"{like.name}_{rows}x{columns}", layout=layout)


BUILT_IN: dict[str, Callable[[], Scenario]] = {
    "paper": make_paper,
    "paper_pedestrian": make_paper_pedestrian,
    "paper_100ms": make_paper_100ms,
    "mixed": make_mixed,
    "tr36873_uma": make_tr36873_uma,
    "tti": make_tti,
}


def make_scenario(name: str) -> Scenario:
    """The built-in scenario with that name.

    Raises: ValueError for a name that is not in BUILT_IN.
    """
    if name not in BUILT_IN:
        raise ValueError(f"scenario: expected one of {', '.join(BUILT_IN)}, got {name!r}")
    return BUILT_IN[name]()


def resolve_scenario(value: Any) -> Any:
    """A built-in scenario for its name; for a mapping with `like`, that scenario with changes.

    Anything else is returned as it is: a whole description, which pydantic checks.
    Raises: ValueError for an unknown name.
    """
    if isinstance(value, str):
        return make_scenario(value)
    if isinstance(value, Mapping) and "like" in value:
        changes = {**cast("Mapping[str, Any]", value)}
        like = make_scenario(str(changes.pop("like")))
        return merge(TypeAdapter(Scenario).dump_python(like, mode="json"), changes)
    return cast("Any", value)


def merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, mappings merged key by key and anything else replaced.

    A mapping whose `kind` differs is replaced as well: its other keys have other meanings.
    """
    merged: dict[str, Any] = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = value
        if isinstance(below, dict) and isinstance(value, Mapping):
            old, new = cast("dict[str, Any]", below), cast("Mapping[str, Any]", value)
            kind = old.get("kind")
            if new.get("kind", kind) == kind:
                merged[key] = merge(old, new)
    return merged


def read_scenario(value: Any) -> Scenario:
    """A scenario of all that `resolve_scenario` takes, and one that is a `Scenario` already.

    Raises: ValueError with one line about the first thing that is wrong.
    """
    try:
        return TypeAdapter(Scenario).validate_python(resolve_scenario(value))
    except ValidationError as error:
        first = error.errors()[0]
    path = ".".join(map(str, ("scenario", *first["loc"])))
    raise ValueError(f"{path}: {first['msg'].removeprefix('Value error, ')}")


def _make_slice(name: str, *, rate_kbps: float, packet_kbit: float) -> SliceSpec:
    return SliceSpec(name=name, traffic=TrafficSpec(rate_kbps=rate_kbps, packet_kbit=packet_kbit))


def _make_sla_group(
    name: str, *, throughputs_mbps: Iterable[float], delays_ms: Iterable[float]
) -> SlaGroup:
    slas = tuple(
        SliceSla(throughput_mbps=throughput_mbps, delay_ms=delay_ms)
        for throughput_mbps, delay_ms in zip(throughputs_mbps, delays_ms, strict=True)
    )
    return SlaGroup(name=name, slices=slas)


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
                rate_kbps=traffic_kbps[index] / users[index], packet_kbit=packets_kbit[index]
            ),
            users=users[index],
        )
        for index in range(n_slices)
    )
    paper = make_paper()
    return replace(
        paper,
        name=name,
        slices=slices,
        sla_groups=(_draw_sla_group(rng, "A", n_slices), _draw_sla_group(rng, "B", n_slices)),
        layout=replace(paper.layout, site_distance_m=rng.uniform(350.0, 700.0)),
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
    return _make_sla_group(name, throughputs_mbps=throughputs_mbps, delays_ms=delays_ms)


def _draw_log_uniform(rng: np.random.Generator, low: float, high: float, n: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), n))
