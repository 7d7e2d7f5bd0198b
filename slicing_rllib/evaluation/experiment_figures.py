"""Figures of an experiment: the paper's Figs. 4 to 6 and 8, with the paper's own numbers.

Numbers that the paper reports, for comparison with results of this code.

The figure of a sweep: settings and results of all trials as parallel coordinates.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slicing_rllib.evaluation.figures import (
    COLOURS,
    ORACLES_OF_ONE_METRIC,
    OTHER_COLOUR,
    STYLE,
    make_axes,
)

PAPER = {
    "traffic_aware": {"satisfaction_mean": 0.87, "fail_rate_95": 0.25, "delay_max_ms": 1.8},
    "drl": {"satisfaction_mean": 0.90, "fail_rate_95": 0.19, "delay_max_ms": 1.7},
    "tl": {"satisfaction_mean": 0.92, "fail_rate_95": 0.12, "delay_max_ms": 1.5},
}
"""By policy. Source: the paper, Fig. 5, Fig. 6 and text."""
PAPER_TITLES = {"traffic_aware": "baseline", "drl": "DRL", "tl": "TL"}
"""The paper's names of these policies."""


ARM_COLOURS = ("#009E73", "#CC79A7", "#F0E442", "#66A61E", "#7570B3", "#A6761D", "#E7298A")
"""For arms without a colour in the palette of policies."""
LINE_STYLES = (("o", "-"), ("s", ":"), ("^", "-."))
"""Marker and line style of the first, second and third arm of one colour."""
QUANTILES = np.linspace(0.0, 1.0, 1001)
"""Quantiles at which a distribution's curve is drawn."""
LOWEST_GAIN = -0.06
"""Smallest gain over the baseline that a figure of gains shows."""
EARLY_STEPS = 50
"""Curves that begin later get a linear axis: a logarithmic one would squeeze them."""


class Band(NamedTuple):
    """A curve of means over seeds, with its 95 % interval."""

    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def assign_colours(names: Iterable[str]) -> dict[str, str]:
    """Known policies in their own colour, others in colours that no policy has, in turn."""
    listed = list(names)
    others = [name for name in listed if name not in COLOURS]
    colours = {name: ARM_COLOURS[i % len(ARM_COLOURS)] for i, name in enumerate(others)}
    return {name: COLOURS.get(name) or colours[name] for name in listed}


def draw_reward_bands(
    bands: Mapping[str, Band], levels: Mapping[str, float], titles: Mapping[str, str]
) -> Figure:
    """Reward without exploration noise over steps under the own policy, by arm.

    `levels` are the rewards of baselines, `titles` the arms' names in the legend.
    Source: the paper, Fig. 4.
    """
    figure, axes = make_axes(
        8.2,
        4.0,
        x_label="steps under its own policy",
        y_label="reward evaluated without noise\n(mean over seeds, 95 % interval)",
    )
    _draw_bands(axes, bands, titles)
    for name, level in levels.items():
        line = ORACLES_OF_ONE_METRIC.get(name, "--")
        axes.axhline(level, color=COLOURS.get(name, OTHER_COLOUR), ls=line, lw=1, label=name)
    figure.legend(fontsize=7, loc="outside right upper")
    return figure


def draw_gain_bands(bands: Mapping[str, Band], titles: Mapping[str, str]) -> Figure:
    """Reward without exploration noise − that of the traffic-aware baseline, by arm.

    Differences are paired by seed, so the bands show what is certain about an arm although networks
    differ. Values below `LOWEST_GAIN` are not shown: an untrained network lies far below.
    """
    figure, axes = make_axes(
        8.2,
        4.0,
        x_label="steps under its own policy",
        y_label="reward − that of traffic_aware\n(same traffic, 95 % interval over seeds)",
    )
    _draw_bands(axes, bands, titles)
    axes.axhline(0.0, color=COLOURS["traffic_aware"], ls="--", lw=1, label="traffic_aware")
    shown = [
        high
        for band in bands.values()
        for mean, high in zip(band.mean, band.high, strict=True)
        if mean >= LOWEST_GAIN
    ]
    highest = max(shown, default=0.0)
    if min(min(band.low) for band in bands.values()) < LOWEST_GAIN:
        axes.set_ylim(LOWEST_GAIN, highest - 0.1 * LOWEST_GAIN)
        axes.set_title(f"values below {LOWEST_GAIN:g} are not shown", fontsize=8, loc="left")
    figure.legend(fontsize=7, loc="outside right upper")
    return figure


def _draw_bands(axes: Axes, bands: Mapping[str, Band], titles: Mapping[str, str]) -> None:
    colours = assign_colours(bands)
    drawn: Counter[str] = Counter()
    for name, band in bands.items():
        colour = colours[name]
        marker, line = LINE_STYLES[drawn[colour] % len(LINE_STYLES)]
        drawn[colour] += 1
        style = {"color": colour, "marker": marker, "ls": line, "ms": 3, "lw": 1.4}
        axes.plot(band.steps, band.mean, label=titles[name], **style)
        axes.fill_between(band.steps, band.low, band.high, color=colour, alpha=0.15, lw=0)
    if min(band.steps[0] for band in bands.values()) <= EARLY_STEPS:
        axes.set_xscale("symlog", linthresh=EARLY_STEPS)
    axes.set_xlim(left=0)


def draw_satisfaction_ccdfs(
    values: Mapping[str, Float[np.ndarray, "..."]],
    titles: Mapping[str, str],
    *,
    with_paper: bool,
) -> Figure:
    """Share of (cell, step) whose worst slice is satisfied to at least x, by policy.

    `with_paper` marks the paper's shares at 0.95 with crosses. Source: the paper, Fig. 5.
    """
    figure, axes = make_axes(
        6.0,
        4.0,
        x_label="satisfaction x of the worst slice",
        y_label="share of (cell, step) at or above x",
    )
    colours = assign_colours(values)
    for name, satisfied in values.items():
        ordered = np.quantile(satisfied, QUANTILES)
        label = titles.get(name, name)
        line = ORACLES_OF_ONE_METRIC.get(name, "-")
        style = {"color": colours[name], "ls": line, "lw": 1.3, "label": label}
        axes.step(ordered, 1.0 - QUANTILES, where="pre", **style)
    for name, row in PAPER.items() if with_paper else ():
        share, text = 1 - row["fail_rate_95"], f"paper, {PAPER_TITLES[name]}"
        axes.plot(0.95, share, "x", color=OTHER_COLOUR, ms=6)
        axes.annotate(text, (0.94, share), fontsize=6, ha="right", va="center",
                      bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
    axes.axvline(0.95, color=OTHER_COLOUR, lw=0.8, ls=":", label="SLA, 0.95")
    axes.set_xlim(0.3, 1.005)
    axes.set_ylim(0.3, 1.01)
    axes.legend(fontsize=7, loc="lower left")
    return figure


def draw_delay_cdfs(
    values: Mapping[str, Float[np.ndarray, "..."]],
    titles: Mapping[str, str],
    *,
    with_paper: bool,
) -> Figure:
    """Share of (cell, step) whose largest slice delay is at most x, by policy.

    `with_paper` marks the paper's averages at the top. Source: the paper, Fig. 6.
    """
    figure, axes = make_axes(
        6.0, 4.0, x_label="largest slice delay x, ms", y_label="share of (cell, step) at or below x"
    )
    colours = assign_colours(values)
    for name, delays in values.items():
        ordered = np.quantile(delays, QUANTILES)
        label = f"{titles.get(name, name)}, mean {delays.mean():.2f} ms"
        line = ORACLES_OF_ONE_METRIC.get(name, "-")
        style = {"color": colours[name], "ls": line, "lw": 1.3, "label": label}
        axes.step(ordered, QUANTILES, where="post", **style)
    if with_paper:
        averages = {PAPER_TITLES[name]: row["delay_max_ms"] for name, row in PAPER.items()}
        axes.vlines(list(averages.values()), 0.97, 1.0, color=OTHER_COLOUR, lw=1)
        listed = ", ".join(f"{name} {delay:g}" for name, delay in averages.items())
        left_of_marks = (0.95 * min(averages.values()), 0.985)
        axes.annotate(
            f"paper's averages: {listed}", left_of_marks, fontsize=6, ha="right", va="center"
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.01)
    axes.legend(fontsize=7, loc="lower right")
    return figure


def draw_gain_over_distance(
    distance: Float[np.ndarray, " pair"],
    gain_by_step: Mapping[int, Float[np.ndarray, " pair"]],
    correlation: Mapping[int, float],
    measure: str,
) -> Figure:
    """Gain minus the target's mean gain, over the rank of distance; a panel per step.

    `correlation` is the Spearman correlation of nearness with gain at each step. The line joins
    means over fifths of the pairs. Source: the paper, Fig. 8.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * len(gain_by_step) + 0.6, 3.2), layout="constrained")
        panels = figure.subplots(1, len(gain_by_step), squeeze=False)[0]
    rank = np.argsort(np.argsort(distance)) / max(len(distance) - 1, 1)
    for axes, (step, gain) in zip(panels, gain_by_step.items(), strict=True):
        axes.plot(rank, gain, ".", ms=3, color="#0072B2", alpha=0.4, label="pair of cells")
        edges = np.linspace(0, 1, 6)
        fifth = np.clip(np.digitize(rank, edges) - 1, 0, 4)
        means = [gain[fifth == i].mean() for i in range(5) if (fifth == i).any()]
        axes.plot(0.5 * (edges[1:] + edges[:-1])[: len(means)], means, "o-", ms=4, color="#D55E00",
                  label="mean of a fifth")  # fmt: skip
        axes.axhline(0, color=OTHER_COLOUR, lw=0.8)
        axes.set_title(f"{step} steps, Spearman {correlation[step]:+.2f}", fontsize=8)
        axes.set_xlabel(f"rank of {measure} distance", fontsize=8)
    panels[0].set_ylabel("gain − target's mean gain")
    panels[0].legend(fontsize=7)
    return figure


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
