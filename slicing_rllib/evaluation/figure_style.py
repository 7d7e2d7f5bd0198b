"""Colours and style of all figures."""

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "equal": "#999999",
    "traffic_aware": "#E69F00",
    "sla_weighted": "#CC79A7",
    "best_static": "#8C6D31",
    "persistence": "#56B4E9",
    "oracle_o1": "#66A61E",
    "oracle": "#000000",
    "best_split": "#000000",
    "base_policy": "#8DA0CB",
    "oracle_throughput": "#000000",
    "oracle_delay": "#000000",
    "drl": "#0072B2",
    "tl": "#D55E00",
}
"""By policy: the colour-blind-safe palette of Okabe and Ito, and two more colours for policies that
are seldom shown together."""
OTHER_COLOUR = "#444444"
"""For policies without a colour of their own, and for marks."""
DASHED = ("equal", "traffic_aware", "sla_weighted", "best_static", "persistence", "oracle_o1",
          "base_policy")  # fmt: skip
"""Policies whose lines are dashed: those that do not learn and are no upper bound."""
DOTTED = ("best_split",)
"""Bounds that only hindsight knows."""
ORACLES_OF_ONE_METRIC = {"oracle_throughput": "-.", "oracle_delay": ":"}
"""Line styles of the oracles that share the colour of `oracle` and serve a single metric."""
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "slicing-rllib",
}
"""Settings of matplotlib. The salt makes SVG files reproducible."""


def make_axes(
    width_in: float, height_in: float, *, x_label: str, y_label: str
) -> tuple[Figure, Axes]:
    """A figure of that size, in inches, with one set of axes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def choose_line_style(policy: str) -> dict[str, Any]:
    """Keyword arguments of a policy's line in a plot."""
    style = "--" if policy in DASHED else ":" if policy in DOTTED else "-"
    style = ORACLES_OF_ONE_METRIC.get(policy, style)
    return {"color": COLOURS.get(policy, OTHER_COLOUR), "ls": style, "label": policy}
