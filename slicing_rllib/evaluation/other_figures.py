"""Figures that show no policies: an operator's sites and traffic, trials of a sweep, benchmarks."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle, Wedge

from slicing_rllib.evaluation.figures import COLOURS, OTHER_COLOUR
from slicing_rllib.evaluation.looks import make_panels
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
    colours = dict(zip(groups, itertools.cycle(GROUP_COLOURS), strict=False))
    points = np.array([(site.x_m, site.y_m) for site in sites])
    radius_m = 150.0
    if len(points) > 1:
        # Such that the sectors of typical neighbours do not overlap.
        distance_m = np.linalg.norm(points[:, None] - points[None], axis=-1)
        np.fill_diagonal(distance_m, np.inf)
        radius_m = max(20.0, 0.4 * float(np.median(distance_m.min(axis=1))))
    has_numbers = sum(len(site.sla_groups) for site in sites) <= MAX_NUMBERED_CELLS
    numbers = itertools.count(1)
    for site, middle in zip(sites, points, strict=True):
        half_deg = min(30.0, 150.0 / len(site.sla_groups))
        for group, azimuth_deg in zip(site.sla_groups, site.mast.azimuths_deg, strict=True):
            between = (azimuth_deg - half_deg, azimuth_deg + half_deg)
            axes.add_patch(
                Wedge(middle, radius_m, *between, fc=colours[group], ec="white", lw=0.8, alpha=0.8)
            )
            turn, label = np.radians(azimuth_deg), str(next(numbers)) if has_numbers else ""
            at = middle + 0.65 * radius_m * np.array([np.cos(turn), np.sin(turn)])
            axes.annotate(label, at, fontsize=7, ha="center", va="center", color="black", zorder=3)
        axes.plot(*middle, "o", color="#222222", ms=3)
        if site.name and len(sites) <= MAX_NAMED_SITES:
            below = (site.x_m, site.y_m - 1.05 * radius_m)
            axes.annotate(site.name, below, fontsize=7, ha="center", va="top", zorder=4)
    (width_m, _), (_, depth_m) = area.edges_m
    left_m, lower_m = area.origin_m
    outline = Rectangle(area.origin_m, width_m, depth_m, fill=False, ec="#444444", ls=":", lw=1)
    axes.add_patch(outline)
    axes.set_xlim(left_m - 0.02 * width_m, left_m + 1.02 * width_m)
    axes.set_ylim(lower_m - 0.05 * depth_m, lower_m + 1.02 * depth_m)
    handles: list[Patch | Line2D] = [
        Patch(color=colours[g], label=f"SLA group {g}") for g in groups
    ]
    handles.append(Line2D([], [], color="#444444", ls=":", label="area in which UEs move"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8)
    axes.set(aspect="equal", xlabel="metres east", ylabel="metres north")
    return figure


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
    cycles = itertools.cycle(SLICE_COLOURS), itertools.cycle(SLICE_LINES)
    for name, of_cells, colour, line in zip(
        names, np.moveaxis(shares, 2, 0), *cycles, strict=False
    ):
        style: dict[str, Any] = {"color": colour, "ls": line, "lw": 1.3}
        panels[0].plot(at, of_cells.mean(axis=1), label=name, **style)
        low, high = of_cells.min(axis=1), of_cells.max(axis=1)
        if (high > low).any():
            panels[0].fill_between(at, low, high, color=colour, alpha=0.12, lw=0)
        if by_hour is not None:
            of_hours = by_hour[:, len(panels[1].lines)]
            panels[1].plot(range(24), of_hours, marker="o", ms=3, **style)
    panels[0].set(xlabel=at_label, ylabel="share of UEs that are active")
    panels[0].set_ylim(bottom=0)
    if by_hour is not None:
        panels[1].set(xticks=range(0, 24, 3), xlim=(-0.5, 23.5))
        panels[1].set_xlabel("local hour of the day, mean over days and cells")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


LOG_RANGE = 20
"""Settings whose largest value is more than so many times the smallest get a logarithmic axis."""
MAX_LABELLED_VALUES = 4
"""With more values, five ticks between the smallest and the largest are written out."""
MEMORY_LIMIT_GIB = 4.0
"""Memory that the simulator of a city of 1,024 sites may take."""


LEAST_RANGE = 0.05
"""Results that differ by less are drawn close together: their axis spans this much."""


def draw_parallel_coordinates(table: pd.DataFrame, names: Sequence[str] = ()) -> Figure:
    """A line per trial through its settings to its result; the highest result is the darkest line.

    `table` has a row per trial, a column per setting, and the result as its last column. `names`
    are those of the trials, which stand at the ends of the lines.
    """
    *settings, result = (table[key].tolist() for key in table)
    columns = [*map(_scale_column, settings), _scale_column(result, LEAST_RANGE)]
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


def _scale_column(
    column: Sequence[Any], least: float = 0.0
) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1 of a setting's values, and (height, label) of values written out.

    Numbers that differ, but by less than `least`, lie in the middle of an axis of that length.
    """
    if least and 0 < np.ptp(column) < least:
        low = (min(column) + max(column) - least) / 2
        labels = [(height, f"{low + height * least:.3g}") for height in (0.0, 0.5, 1.0)]
        return [(value - low) / least for value in column], labels
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


MAX_NUMBERED_ROWS = 16
"""Heat maps of more cells have no number in each square."""


def draw_heat_map(
    cells: Sequence[str],
    distances: Float[np.ndarray, "source target"],
    groups: Sequence[str],
    chosen: Mapping[str, str],
    measure: str,
    targets: Sequence[int] | None = None,
) -> Figure:
    """Distance of every source from every target, with cells ordered by SLA group.

    `targets` are the indices of the targets that are shown, by default of all cells.

    Colours are logarithmic, since distances span decades; a cell's distance from itself is zero and
    has no colour. `groups` is the SLA group of each cell; `chosen` maps a target to its source,
    which gets a frame. Source: the paper, Fig. 7.
    """
    order = sorted(range(len(cells)), key=lambda i: groups[i])
    shown_targets = [i for i in order if targets is None or i in targets]
    names, below = (
        [f"{cells[i].removeprefix('cell_')} {groups[i]}" for i in each]
        for each in (order, shown_targets)
    )
    shown = distances[np.ix_(order, shown_targets)]
    height, width = (max(3.6, 0.36 * len(each) + 1.6) for each in (order, shown_targets))
    figure, (axes,) = make_panels(1, (width + 0.8, height), **{"axes.grid": False})
    positive = shown[shown > 0]
    low, high = (positive.min(), positive.max()) if positive.size else (0.5, 1.0)
    norm = LogNorm(low, high if high > low else 2.0 * low)
    drawn = np.ma.masked_less_equal(np.nan_to_num(shown), 0.0)
    image = axes.imshow(drawn, cmap="cividis", norm=norm, aspect="auto")
    axes.set(xlabel="target cell, SLA group", ylabel="source cell, SLA group", facecolor="#FFFFFF")
    if len(cells) <= MAX_NUMBERED_ROWS:
        axes.set_xticks(range(len(below)), below, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (row, column), value in np.ndenumerate(shown.astype(float)):
            if np.isnan(value):
                continue
            # Two digits, or a whole number where that is as short.
            text = f"{value:.0f}" if 10 <= value < 10_000 else f"{value:.2g}"
            is_light = not value > 0 or cast("float", norm(value)) > 0.5
            axes.text(column, row, text, ha="center", va="center", size=6,
                      color="black" if is_light else "white")  # fmt: skip
    rows, columns = (
        {cells[i]: position for position, i in enumerate(each)} for each in (order, shown_targets)
    )
    for target, source in chosen.items():
        if source in rows and target in columns:
            corner = (columns[target] - 0.5, rows[source] - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=2))
    if axes.patches:
        axes.set_title("frame: the chosen source", fontsize=8)
    figure.colorbar(image, ax=axes, label=f"{measure} distance, logarithmic", shrink=0.85)
    return figure
