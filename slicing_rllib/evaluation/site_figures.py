"""The map of a scenario's sites and sectors."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle, Wedge

from slicing_rllib.evaluation.figure_style import STYLE
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
