"""The figure of a traffic file: each slice over the whole file and over the hours of a day."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slicing_rllib.evaluation.figure_style import STYLE

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
