"""Figures that show no policies: an operator's sites and traffic, trials of a sweep, benchmarks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle, Wedge

from slicing_rllib.evaluation.figures import COLOURS, OTHER_COLOUR, make_panels
from slicing_rllib.radio import Area, SiteSpec

# matplotlib's annotations leave out types.
# pyright: reportUnknownMemberType=false

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
    figure, (axes,) = make_panels(1, (7.0, 6.4))
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
    n_panels = 1 if by_hour is None else 2
    figure, panels = make_panels(n_panels, (3.2 * (n_panels + 1), 3.6), sharey=True)
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


LOG_RANGE = 20
"""Settings whose largest value is more than so many times the smallest get a logarithmic axis."""
MAX_LABELLED_VALUES = 4
"""With more values, five ticks between the smallest and the largest are written out."""
MEMORY_LIMIT_GIB = 4.0
"""Memory that the simulator of a city of 1,024 sites may take."""


def draw_parallel_coordinates(table: pd.DataFrame, names: Sequence[str] = ()) -> Figure:
    """A line per trial through its settings to its result; the highest result is the darkest line.

    `table` has a row per trial, a column per setting, and the result as its last column. `names`
    are those of the trials, which stand at the ends of the lines.
    """
    columns = [_scale_column(table[key].tolist()) for key in table]
    figure, (axes,) = make_panels(
        1, (2.6 + 1.6 * len(columns), max(3.8, 0.16 * len(names) + 0.8)),
        **{"axes.grid": False, "axes.spines.left": False},
    )  # fmt: skip
    order = np.argsort(table.iloc[:, -1])
    for rank, trial in enumerate(order):
        shade = 0.85 * (1.0 - (rank + 1) / len(order))
        through = [heights[int(trial)] for heights, _ in columns]
        axes.plot(through, color=str(shade), lw=1 + (rank == len(order) - 1), zorder=rank)
    above = len(order)
    for place, (_, ticks) in enumerate(columns):
        axes.axvline(place, color="black", lw=0.8, zorder=above, gid="axis")
        for height, text in ticks:
            axes.plot(place, height, "_", color="black", ms=6, zorder=above + 1, gid="tick")
            axes.annotate(
                text, (place, height), xytext=(-5, 0), textcoords="offset points", fontsize=7,
                ha="right", va="center", zorder=above + 2,
                bbox={"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.9},
            )  # fmt: skip
    at = -np.inf
    for trial in order if len(names) else ():
        # Names stand right of the last axis, lowest first, moved apart where they would overlap.
        place, height = len(columns) - 1, columns[-1][0][int(trial)]
        at = max(height, at + 1.0 / max(24, len(names)))
        axes.annotate(
            str(names[trial]), (place + 0.02, height), xytext=(place + 0.12, at), fontsize=6,
            va="center", arrowprops={"arrowstyle": "-", "lw": 0.3, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axes.set_xticks(range(len(columns)), [str(key) for key in table])
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_yticks([])
    return figure


def _scale_column(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1 of a setting's values, and (height, label) of values written out."""
    numbers = all(isinstance(value, int | float) for value in column)
    known: list[Any] = sorted(set(column) if numbers else {str(value) for value in column})
    is_log = numbers and known[0] > 0 and known[-1] / known[0] > LOG_RANGE
    scaled = np.array(known, float) if numbers else np.arange(len(known), dtype=float)
    scaled = np.log(scaled) if is_log else scaled
    at = dict(zip(known, (scaled - scaled[0]) / (np.ptp(scaled) or 1.0), strict=True))
    shown = known
    heights = list(at.values())
    if numbers and len(known) > MAX_LABELLED_VALUES:
        heights = list(np.linspace(0.0, 1.0, 5))
        between = np.linspace(float(scaled[0]), float(scaled[-1]), 5)
        shown = (np.exp(between) if is_log else between).tolist()
    texts = [f"{value:.3g}" if numbers else str(value) for value in shown]
    return [at[v if numbers else str(v)] for v in column], list(zip(heights, texts, strict=True))


def draw_growth(
    cells: Sequence[int], step_ms: Sequence[float], peak_gib: Sequence[float]
) -> Figure:
    """Time and peak memory of a simulated step over the number of cells.

    Dotted lines: time in proportion to the smallest network, and MEMORY_LIMIT_GIB.
    """
    figure, panels = make_panels(2, (7.6, 3.4))
    for axes, values, what in zip(
        panels, (step_ms, peak_gib), ("time of a step, ms", "peak memory, GiB"), strict=True
    ):
        axes.loglog(cells, values, color=COLOURS["drl"], marker="o", ms=4, label="measured")
        if axes is panels[0]:
            proportional = [values[0] * n / cells[0] for n in cells]
            axes.loglog(cells, proportional, color=OTHER_COLOUR, ls=":", label="in proportion")
        else:
            axes.axhline(MEMORY_LIMIT_GIB, color=OTHER_COLOUR, ls=":", label="limit")
            axes.set_ylim(min(values) / 3, 2 * MEMORY_LIMIT_GIB)
        axes.legend(fontsize=8, loc="lower right")
        for n, value in zip(cells, values, strict=True):
            axes.annotate(f"{value:.3g}", (n, value), xytext=(-4, 5),
                          textcoords="offset points", fontsize=7, ha="right")  # fmt: skip
        axes.set_xlim(cells[0] / 2.5, cells[-1] * 1.6)
        axes.set_xticks(cells, [f"{n:,}" for n in cells])
        axes.minorticks_off()
        axes.set_xlabel("cells (128 UEs each)")
        axes.set_ylabel(what)
    return figure
