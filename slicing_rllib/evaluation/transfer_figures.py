"""Figures of transfer: who is like whom, and what a warm start is worth."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from slicing_rllib.evaluation.figures import COLOURS, STYLE

WRITTEN_OUT_CELLS = 16
"""Networks up to this size have a number in each square."""


def heat_map(
    cells: Sequence[str],
    distances: Float[np.ndarray, "source target"],
    groups: Sequence[str],
    chosen: Mapping[str, str],
    measure: str,
) -> Figure:
    """Distance of every source from every target, SLA group by SLA group: Fig. 7 of the paper.

    `chosen` maps a target to the source it learned from, which is framed.
    """
    order = sorted(range(len(cells)), key=lambda i: groups[i])
    names = [f"{cells[i].removeprefix('cell_')} {groups[i]}" for i in order]
    shown = distances[np.ix_(order, order)]
    size = max(3.6, 0.36 * len(cells) + 1.6)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(size + 0.8, size), layout="constrained")
        axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="cividis")
    axes.set_xlabel("target cell, SLA group")
    axes.set_ylabel("source cell, SLA group")
    if len(cells) <= WRITTEN_OUT_CELLS:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        middle = float(np.nanmean([shown.min(), shown.max()]))
        for (row, column), value in np.ndenumerate(shown):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.2g}", ha="center", va="center", size=6, color=colour)
    places = {cells[i]: place for place, i in enumerate(order)}
    for target, source in chosen.items():
        if source in places and target in places:
            corner = (places[target] - 0.5, places[source] - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=2))
    figure.colorbar(image, ax=axes, label=f"{measure} distance", shrink=0.85)
    return figure


def warm_start_curves(
    cell: str,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    came_up: int,
    took_over: int,
) -> Figure:
    """A cell's reward without exploration noise over network steps, by way of learning."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.8), layout="constrained")
        axes = figure.add_subplot()
    labels = {"tl": "transferred", "drl": "from scratch"}
    for name, (steps, rewards) in curves.items():
        axes.plot(steps, rewards, color=COLOURS[name], marker="o", ms=3, lw=1.4, label=labels[name])
    axes.axvspan(came_up, took_over, color="#000000", alpha=0.06, lw=0)
    axes.text((came_up + took_over) / 2, 0.02, "default action", ha="center", fontsize=8)
    axes.set_xlabel("network step")
    axes.set_ylabel(f"evaluated reward of {cell}")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    return figure
