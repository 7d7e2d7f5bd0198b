"""The map of a scenario's sites and sectors.

The figure of a traffic file: each slice over the whole file and over the hours of a day.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle, Wedge

from slicing_rllib.evaluation.figures import STYLE
from slicing_rllib.radio import Area, SiteSpec

GROUP_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31")
"""Of the SLA groups in turn."""
MAX_NAMED_SITES = 40
"""Maps of more sites have no names."""
MAX_NUMBERED_CELLS = 60
"""Maps of more cells have no numbers in the sectors."""


def draw_sites(sites: Sequence[SiteSpec], area: Area) -> Figure:
    """Sites with their sectors, coloured by SLA group, in the area in which UEs move.

    The number in a sector is that of its cell: 3 is `cell_3`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 6.4), layout="constrained")
        axes = figure.add_subplot()
    groups = sorted({group for site in sites for group in site.sla_groups})
    colours = {g: GROUP_COLOURS[i % len(GROUP_COLOURS)] for i, g in enumerate(groups)}
    radius_m = _choose_radius_m(sites)
    n_cells = sum(len(site.sla_groups) for site in sites)
    number = 0
    for site in sites:
        for group, azimuth in zip(site.sla_groups, site.mast.azimuths_deg, strict=True):
            number += 1
            label = str(number) if n_cells <= MAX_NUMBERED_CELLS else ""
            half = min(30.0, 150.0 / len(site.sla_groups))
            _draw_sector(axes, site, azimuth, half, radius_m, colours[group], label)
        axes.plot(site.x_m, site.y_m, "o", color="#222222", ms=3)
        if site.name and len(sites) <= MAX_NAMED_SITES:
            below = (site.x_m, site.y_m - 1.05 * radius_m)
            axes.annotate(site.name, below, fontsize=7, ha="center", va="top", zorder=4)
    _draw_area(axes, area)
    handles: list[Patch | Line2D] = [
        Patch(color=colours[g], label=f"SLA group {g}") for g in groups
    ]
    handles.append(Line2D([], [], color="#444444", ls=":", label="area in which UEs move"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8)
    axes.set_aspect("equal")
    axes.set_xlabel("metres east")
    axes.set_ylabel("metres north")
    return figure


def _choose_radius_m(sites: Sequence[SiteSpec]) -> float:
    """Such that the sectors of typical neighbours do not overlap."""
    points = np.array([(site.x_m, site.y_m) for site in sites])
    if len(points) < 2:
        return 150.0
    distance_m = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance_m, np.inf)
    return max(20.0, 0.4 * float(np.median(distance_m.min(axis=1))))


def _draw_sector(
    axes: Axes,
    site: SiteSpec,
    azimuth_deg: float,
    half_width_deg: float,
    radius_m: float,
    colour: str,
    label: str,
) -> None:
    between = (azimuth_deg - half_width_deg, azimuth_deg + half_width_deg)
    axes.add_patch(
        Wedge((site.x_m, site.y_m), radius_m, *between, fc=colour, ec="white", lw=0.8, alpha=0.8)
    )
    turn = np.radians(azimuth_deg)
    middle = (
        site.x_m + 0.65 * radius_m * np.cos(turn),
        site.y_m + 0.65 * radius_m * np.sin(turn),
    )
    axes.annotate(label, middle, fontsize=7, ha="center", va="center", color="black", zorder=3)


def _draw_area(axes: Axes, area: Area) -> None:
    (width_m, _), (_, depth_m) = area.edges_m
    outline = Rectangle(area.origin_m, width_m, depth_m, fill=False, ec="#444444", ls=":", lw=1)
    axes.add_patch(outline)
    axes.set_xlim(area.origin_m[0] - 0.02 * width_m, area.origin_m[0] + 1.02 * width_m)
    axes.set_ylim(area.origin_m[1] - 0.05 * depth_m, area.origin_m[1] + 1.02 * depth_m)


SLICE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D31", "#444444")
"""Of the slices in turn; line styles differ as well."""
SLICE_LINES = ("-", "--", "-.", ":")


def draw_traffic(
    names: Sequence[str],
    shares: Float[np.ndarray, "row cell slice"],
    at: Float[np.ndarray, " row"],
    at_label: str,
    by_hour: Float[np.ndarray, "hour slice"] | None,
) -> Figure:
    """Share of active UEs of each slice: mean over cells, and a band from lowest to highest cell.

    `at` is the place of each row on the axis that `at_label` names. `by_hour` adds a panel with
    means by hour of the day; NaN where the file has no such hour.
    """
    with mpl.rc_context(STYLE):
        width_in = 6.4 if by_hour is None else 9.6
        figure = Figure(figsize=(width_in, 3.6), layout="constrained")
        panels = figure.subplots(1, 1 if by_hour is None else 2, squeeze=False, sharey=True)[0]
    for i, name in enumerate(names):
        style = _choose_style(i)
        panels[0].plot(at, shares[:, :, i].mean(axis=1), label=name, lw=1.3, **style)
        low, high = shares[:, :, i].min(axis=1), shares[:, :, i].max(axis=1)
        if (high > low).any():
            panels[0].fill_between(at, low, high, color=style["color"], alpha=0.12, lw=0)
    panels[0].set_xlabel(at_label)
    panels[0].set_ylabel("share of UEs that are active")
    panels[0].set_ylim(bottom=0)
    if by_hour is not None:
        _draw_hours(panels[1], by_hour)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _draw_hours(axes: Axes, by_hour: Float[np.ndarray, "hour slice"]) -> None:
    for i in range(by_hour.shape[1]):
        axes.plot(range(24), by_hour[:, i], marker="o", ms=3, lw=1.3, **_choose_style(i))
    axes.set_xticks(range(0, 24, 3))
    axes.set_xlim(-0.5, 23.5)
    axes.set_xlabel("local hour of the day, mean over days and cells")


def _choose_style(index: int) -> dict[str, Any]:
    return {
        "color": SLICE_COLOURS[index % len(SLICE_COLOURS)],
        "ls": SLICE_LINES[index % len(SLICE_LINES)],
    }
