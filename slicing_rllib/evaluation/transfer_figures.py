"""Figures of transfer: similarity of cells, and rewards after a warm start."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from slicing_rllib.evaluation.figure_style import COLOURS, STYLE, make_axes

MAX_NUMBERED_CELLS = 16
"""Larger networks have no number in each square."""
NOTED_DIP = 0.01
"""A transferred policy that loses so much reward in fine-tuning gets a note."""


def draw_heat_map(
    cells: Sequence[str],
    distances: Float[np.ndarray, "source target"],
    groups: Sequence[str],
    chosen: Mapping[str, str],
    measure: str,
) -> Figure:
    """Distance of every source from every target, with cells ordered by SLA group.

    Colours are logarithmic, since distances span decades. `groups` is the SLA group of each cell;
    `chosen` maps a target to its source, which gets a frame. Source: the paper, Fig. 7.
    """
    order = sorted(range(len(cells)), key=lambda i: groups[i])
    names = [f"{cells[i].removeprefix('cell_')} {groups[i]}" for i in order]
    shown = distances[np.ix_(order, order)]
    size = max(3.6, 0.36 * len(cells) + 1.6)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(size + 0.8, size), layout="constrained")
        axes = figure.add_subplot()
    norm = _make_log_norm(shown)
    image = axes.imshow(np.ma.masked_less_equal(shown, 0.0), cmap="cividis", norm=norm)
    axes.set_facecolor("#FFFFFF")
    axes.set_xlabel("target cell, SLA group")
    axes.set_ylabel("source cell, SLA group")
    if len(cells) <= MAX_NUMBERED_CELLS:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (row, column), value in np.ndenumerate(shown):
            is_light = not value > 0 or float(norm(value)) > 0.5
            colour = "black" if is_light else "white"
            axes.text(column, row, _format_distance(value), ha="center", va="center", size=6,
                      color=colour)  # fmt: skip
    positions = {cells[i]: position for position, i in enumerate(order)}
    for target, source in chosen.items():
        if source in positions and target in positions:
            corner = (positions[target] - 0.5, positions[source] - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=2))
    if axes.patches:
        axes.set_title("frame: source that the run chose for the target", fontsize=8)
    figure.colorbar(image, ax=axes, label=f"{measure} distance, logarithmic", shrink=0.85)
    return figure


def _format_distance(distance: float) -> str:
    """Two digits, or a whole number where that is as short."""
    return f"{distance:.0f}" if 10 <= distance < 10_000 else f"{distance:.2g}"


def _make_log_norm(distances: Float[np.ndarray, "source target"]) -> LogNorm:
    """Of the positive distances; a cell's distance from itself is zero and has no colour."""
    positive = distances[distances > 0]
    if not positive.size:
        return LogNorm(0.5, 1.0)
    low, high = float(positive.min()), float(positive.max())
    return LogNorm(low, high if high > low else 2.0 * low)


def draw_warm_start_curves(
    cell: str,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    joined_at: int,
    controlled_from: int,
) -> Figure:
    """A cell's reward without exploration noise, transferred and from scratch.

    `curves` are steps and rewards by policy (`drl`, `tl`). The cell is under the default action
    from network step `joined_at` and under its own policy from `controlled_from`.
    """
    figure, axes = make_axes(
        6.0, 3.8, x_label="network step", y_label=f"evaluated reward of {cell}"
    )
    labels = {"tl": "transferred", "drl": "from scratch"}
    for name, (steps, rewards) in curves.items():
        axes.plot(steps, rewards, color=COLOURS[name], marker="o", ms=3, lw=1.4, label=labels[name])
    axes.axvspan(joined_at, controlled_from, color="#000000", alpha=0.06, lw=0)
    axes.text((joined_at + controlled_from) / 2, 0.02, "default action", ha="center", fontsize=8,
              transform=axes.get_xaxis_transform())  # fmt: skip
    lowest = min((float(np.min(rewards)) for _, rewards in curves.values() if len(rewards)),
                 default=0.0)  # fmt: skip
    axes.set_ylim(max(0.0, np.floor(10 * (lowest - 0.02)) / 10), 1.01)
    _note_dip(axes, *curves.get("tl", ((), ())))
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _note_dip(axes: Axes, steps: Sequence[float], rewards: Sequence[float]) -> None:
    """Marks where fine-tuning has made the transferred policy worst, if it was better at first."""
    if len(rewards) < 2 or rewards[0] - min(rewards) < NOTED_DIP:
        return
    at = int(np.argmin(rewards))
    axes.annotate(
        f"dip of {rewards[0] - rewards[at]:.2f}: the policy itself, changed by\n"
        "fine-tuning; the evaluation has no exploration noise",
        (steps[at], rewards[at]), xytext=(20, -18), textcoords="offset points", fontsize=7,
        va="top", bbox={"fc": "white", "ec": "none", "pad": 1},
        arrowprops={"arrowstyle": "->", "lw": 0.8},
    )  # fmt: skip
