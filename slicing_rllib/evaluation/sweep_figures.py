"""The figure of a sweep: settings and results of all trials as parallel coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from slicing_rllib.evaluation.figure_style import STYLE

LOG_RANGE = 20
"""Settings whose largest value is more than so many times the smallest get a logarithmic axis."""
MAX_LABELLED_VALUES = 4
"""With more values, only the smallest and the largest are written out."""


def draw_parallel_coordinates(
    settings: Sequence[Mapping[str, Any]], values: Sequence[float], metric: str
) -> Figure:
    """A line per trial through its settings to its result; the highest result is the darkest line.

    `settings` has one mapping per trial with the same keys, `values` the results called `metric`.
    """
    keys = [*settings[0], metric]
    rows = [[*row.values(), value] for row, value in zip(settings, values, strict=True)]
    columns = [_scale_column(column) for column in zip(*rows, strict=True)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.0 + 1.6 * len(keys), 3.8), layout="constrained")
        axes = figure.add_subplot()
    order = np.argsort(values)
    for rank, trial in enumerate(order):
        shade = 0.85 * (1.0 - (rank + 1) / len(order))
        heights = [column[0][trial] for column in columns]
        axes.plot(heights, color=str(shade), lw=1 + (rank == len(order) - 1), zorder=rank)
    for place, (_, ticks) in enumerate(columns):
        for height, text in ticks:
            axes.annotate(text, (place, height), fontsize=7, ha="right", va="center")
    axes.set_xticks(range(len(keys)), keys)
    axes.set_xlim(-0.5, len(keys) - 0.5)
    axes.set_yticks([])
    return figure


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
    ends = known if len(known) <= MAX_LABELLED_VALUES else [known[0], known[-1]]
    ticks = [(at[value], f"{value:.3g}" if numbers else str(value)) for value in ends]
    return [at[value if numbers else str(value)] for value in column], ticks
