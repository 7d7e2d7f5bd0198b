"""The figure of a sweep: settings and results of all trials as parallel coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slicing_rllib.evaluation.figure_style import STYLE

LOG_RANGE = 20
"""Settings whose largest value is more than so many times the smallest get a logarithmic axis."""
MAX_LABELLED_VALUES = 4
"""With more values, five ticks between the smallest and the largest are written out."""
N_TICKS = 5


def draw_parallel_coordinates(
    settings: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    metric: str,
    trials: Sequence[str] = (),
) -> Figure:
    """A line per trial through its settings to its result; the highest result is the darkest line.

    `settings` has one mapping per trial with the same keys, `values` the results called `metric`,
    and `trials` the names that stand at the ends of the lines.
    """
    keys = [*settings[0], metric]
    rows = [[*row.values(), value] for row, value in zip(settings, values, strict=True)]
    columns = [_scale_column(column) for column in zip(*rows, strict=True)]
    height_in = max(3.8, 0.16 * len(trials) + 0.8)
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.left": False}):
        figure = Figure(figsize=(2.6 + 1.6 * len(keys), height_in), layout="constrained")
        axes = figure.add_subplot()
    order = np.argsort(values)
    for rank, trial in enumerate(order):
        shade = 0.85 * (1.0 - (rank + 1) / len(order))
        heights = [column[0][trial] for column in columns]
        axes.plot(heights, color=str(shade), lw=1 + (rank == len(order) - 1), zorder=rank)
    for place, (_, ticks) in enumerate(columns):
        _draw_axis(axes, place, ticks, len(order))
    if trials:
        _name_trials(
            axes,
            len(keys) - 1,
            [columns[-1][0][trial] for trial in order],
            [trials[int(t)] for t in order],
        )
    axes.set_xticks(range(len(keys)), keys)
    axes.set_xlim(-0.5, len(keys) - 0.5)
    axes.set_yticks([])
    return figure


def _draw_axis(axes: Axes, place: int, ticks: Sequence[tuple[float, str]], above: int) -> None:
    """A vertical axis with ticks, whose labels cover the lines behind them."""
    axes.axvline(place, color="black", lw=0.8, zorder=above, gid="axis")
    for height, text in ticks:
        axes.plot(place, height, "_", color="black", ms=6, zorder=above + 1, gid="tick")
        axes.annotate(
            text, (place, height), xytext=(-5, 0), textcoords="offset points", fontsize=7,
            ha="right", va="center", zorder=above + 2,
            bbox={"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.9},
        )  # fmt: skip


def _name_trials(axes: Axes, place: int, heights: Sequence[float], names: Sequence[str]) -> None:
    """Names right of the last axis, lowest first, moved apart where they would overlap."""
    gap = 1.0 / max(24, len(names))
    at = -np.inf
    for height, name in zip(heights, names, strict=True):
        at = max(height, at + gap)
        axes.annotate(
            name, (place + 0.02, height), xytext=(place + 0.12, at), fontsize=6, va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.3, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _scale_column(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1 of a setting's values, and (height, label) of values written out."""
    numbers = all(isinstance(value, int | float) for value in column)
    known: list[Any] = sorted(set(column) if numbers else {str(value) for value in column})
    if numbers and known[0] > 0 and known[-1] / known[0] > LOG_RANGE:
        scaled = np.log(np.array(known, float))
    elif numbers:
        scaled = np.array(known, float)
    else:
        scaled = np.arange(len(known), dtype=float)
    span = float(scaled[-1] - scaled[0]) or 1.0
    at = dict(zip(known, ((scaled - scaled[0]) / span).tolist(), strict=True))
    if len(known) <= MAX_LABELLED_VALUES or not numbers:
        ticks = [(at[value], f"{value:.3g}" if numbers else str(value)) for value in known]
    else:
        is_log = bool(scaled[-1] != known[-1])
        levels = np.linspace(scaled[0], scaled[-1], N_TICKS)
        shown = np.exp(levels) if is_log else levels
        heights = np.linspace(0.0, 1.0, N_TICKS)
        ticks = [(float(h), f"{v:.3g}") for h, v in zip(heights, shown, strict=True)]
    return [at[value if numbers else str(value)] for value in column], ticks
