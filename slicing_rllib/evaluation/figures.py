"""Figures of policies: rewards over steps, distributions, distances of cells.

Figures of a run and of an experiment are drawn by the same functions. A curve comes as a tidy table
with columns seed, arm, step and value; with more than one seed it has a band, the 95 % interval of
its mean. Figures that show no policies are in `other_figures`.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slicing_rllib.evaluation.looks import make_panels
from slicing_rllib.evaluation.statistics import SATISFIED, rank_correlation, summarise_values

# pandas' own annotations are wider than what it returns, matplotlib's narrower than what it takes,
# and matplotlib's leave out types.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportUnknownMemberType=false

COLOURS = {
    "equal": "#999999",
    "traffic_aware": "#E69F00",
    "sla_weighted": "#CC79A7",
    "best_static": "#8C6D31",
    "persistence": "#56B4E9",
    "smoothed_persistence": "#009E73",
    "load_proportional": "#CC79A7",
    "oracle_o1": "#66A61E",
    "oracle": "#000000",
    "best_split": "#000000",
    "base_policy": "#8DA0CB",
    "oracle_throughput": "#000000",
    "oracle_delay": "#000000",
    **dict.fromkeys(("drl", "td3", "counterfactual", "blend"), "#0072B2"),
    "per_slice": "#7B3294",
    **dict.fromkeys(
        (
            "tl",
            "td3_transferred",
            "counterfactual_transferred",
            "blend_transferred",
            "per_slice_transferred",
        ),
        "#D55E00",
    ),
}
"""By policy: the colour-blind-safe palette of Okabe and Ito, and two more colours for policies that
are seldom shown together."""
LINES = {
    **dict.fromkeys(("equal", "traffic_aware", "sla_weighted", "best_static", "persistence",
                     "oracle_o1", "base_policy"), "--"),
    "smoothed_persistence": "-.",
    "load_proportional": ":",
    "best_split": ":",
    "oracle_throughput": "-.",
    "oracle_delay": ":",
}  # fmt: skip
"""Line styles of policies that do not learn. Those that share a colour differ in their lines."""
ARM_COLOURS = ("#009E73", "#CC79A7", "#F0E442", "#66A61E", "#7570B3", "#A6761D", "#E7298A")
"""For arms without a colour in `COLOURS`, in turn."""
ARM_LINES = (("o", "-"), ("s", ":"), ("^", "-."))
"""Marker and line style of the first, second and third arm of one colour."""
OTHER_COLOUR = "#444444"
"""For marks."""
PAPER = {
    "traffic_aware": {"satisfaction_mean": 0.87, "fail_rate_95": 0.25, "delay_max_ms": 1.8},
    "drl": {"satisfaction_mean": 0.90, "fail_rate_95": 0.19, "delay_max_ms": 1.7},
    "tl": {"satisfaction_mean": 0.92, "fail_rate_95": 0.12, "delay_max_ms": 1.5},
}
"""The paper's numbers by policy. Source: the paper, Fig. 5, Fig. 6 and text."""
PAPER_TITLES = {"traffic_aware": "baseline", "drl": "DRL", "tl": "TL"}
"""The paper's names of these policies."""

Titles = Mapping[str, str]
"""By policy, its name in a legend; a policy without one stands under its own name."""


def choose_styles(names: Iterable[str], titles: Titles | None = None) -> dict[str, dict[str, Any]]:
    """By policy, the keyword arguments `color`, `ls`, `marker` and `label` of its line.

    Known policies have their own style, others one that no policy has, in turn.
    """
    styles: dict[str, dict[str, Any]] = {}
    others = 0
    for name in names:
        marker, line = "o", LINES.get(name, "-")
        if name not in COLOURS:
            marker, line = ARM_LINES[others // len(ARM_COLOURS) % len(ARM_LINES)]
        colour = COLOURS.get(name) or ARM_COLOURS[others % len(ARM_COLOURS)]
        others += name not in COLOURS
        label = (titles or {}).get(name, name)
        styles[name] = {"color": colour, "ls": line, "marker": marker, "label": label}
    return styles


# Rewards over steps

CURVES_SIZE_IN = (8.2, 4.0)
RUN_SIZE_IN = (6.0, 3.8)
LOWEST_GAIN = -0.06
"""Smallest gain over the baseline that a figure of gains shows."""
EARLY_STEPS = 50
"""Curves that begin later get a linear axis: a logarithmic one would squeeze them."""


def draw_rewards(table: pd.DataFrame, levels: Mapping[str, float], titles: Titles) -> Figure:
    """Reward without exploration noise over steps under the own policy, by arm.

    `levels` are the rewards of baselines. Source: the paper, Fig. 4.
    """
    ylabel = "reward evaluated without noise\n(mean over seeds, 95 % interval)"
    return _draw_own_steps(table, levels, titles, ylabel)[0]


def draw_rewards_over_time(table: pd.DataFrame, titles: Titles) -> Figure:
    """Reward without exploration noise over CPU seconds of learning, by arm: means over seeds.

    `table` has columns arm, step, cpu_s, evaluated and baseline, a row per seed and step. The line
    is the traffic-aware baseline.
    """
    figure, (axes,) = make_panels(1, CURVES_SIZE_IN)
    means = table.groupby(["arm", "step"], sort=False)[["cpu_s", "evaluated"]].mean()
    for name, style in choose_styles(means.index.unique("arm"), titles).items():
        points = means.loc[name]
        axes.plot(points["cpu_s"], points["evaluated"], ms=3, lw=1.4, **style)
    _draw_levels(axes, {"traffic_aware": float(table["baseline"].mean())})
    axes.set(xscale="log", xlabel="CPU seconds of learning")
    axes.set(ylabel="reward evaluated without noise\n(mean over seeds)")
    figure.legend(fontsize=7, loc="outside right upper")
    return figure


def draw_gains(table: pd.DataFrame, titles: Titles) -> Figure:
    """Reward without exploration noise − that of the traffic-aware baseline, by arm.

    Differences are paired by seed, so the bands show what is certain about an arm although networks
    differ. Values below `LOWEST_GAIN` are not shown: an untrained network lies far below.
    """
    ylabel = "reward − that of traffic_aware\n(same traffic, 95 % interval over seeds)"
    figure, axes, bands = _draw_own_steps(table, {"traffic_aware": 0.0}, titles, ylabel)
    if bands["low"].min() < LOWEST_GAIN:
        highest = max(bands["high"][bands["mean"] >= LOWEST_GAIN], default=0.0)
        axes.set_ylim(LOWEST_GAIN, highest - 0.1 * LOWEST_GAIN)
        axes.set_title(f"values below {LOWEST_GAIN:g} are not shown", fontsize=8, loc="left")
    return figure


def _draw_own_steps(
    table: pd.DataFrame, levels: Mapping[str, float], titles: Titles, ylabel: str
) -> tuple[Figure, Axes, pd.DataFrame]:
    """Curves over steps under the own policy, and what `_draw_curves` returns of them.

    The axis is logarithmic from `EARLY_STEPS` on, if a curve begins before.
    """
    figure, (axes,) = make_panels(1, CURVES_SIZE_IN)
    bands = _draw_curves(axes, table, titles)
    if bands["step"].min() <= EARLY_STEPS:
        axes.set_xscale("symlog", linthresh=EARLY_STEPS)
    axes.set_xlim(left=0)
    _draw_levels(axes, levels)
    axes.set(xlabel="steps under its own policy", ylabel=ylabel)
    figure.legend(fontsize=7, loc="outside right upper")
    return figure, axes, bands


def draw_training(
    evaluated: pd.DataFrame,
    levels: Mapping[str, float],
    learning: pd.DataFrame,
    *,
    smoothing_steps: int,
    exploration_steps: int,
    own: str,
    changes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Figure:
    """A run's mean reward over network steps: evaluated without noise, and while learning.

    The arm `own` is the run. `levels` are the rewards of known policies on the traffic of the
    evaluation. What the run got while learning is on other traffic, so it has a panel of its own,
    beside other splits in the same steps. `exploration_steps` are shaded,
    and lines mark the steps of `changes`, by what happened then.
    """
    figure, panels = make_panels(2, (RUN_SIZE_IN[0], 5.4), vertical=True)
    upper, lower = panels
    if len(evaluated):
        _draw_curves(upper, evaluated, {own: f"this run: {own}"})
    else:
        upper.text(0.5, 0.5, "not evaluated while training", ha="center", transform=upper.transAxes)
    _draw_levels(upper, levels)
    _draw_curves(lower, learning, {own: f"this run: {own}"}, marker="")
    over = f"mean over {smoothing_steps} steps"
    upper.set_title("evaluated without noise, all on the same traffic", fontsize=8)
    lower.set_title(f"while learning, {over}; other splits in the same steps", fontsize=8)
    lower.set_xlabel("network step")
    for axes in panels:
        axes.set_ylabel("mean reward of eq. (2)")
        _shade(axes, 0, exploration_steps, "exploration")
        _cut_below_curves(axes)
        for (what, steps), line in zip(changes.items(), (":", "--", "-."), strict=False):
            for number, step in enumerate(steps):
                label = "_" if number else what
                axes.axvline(step, color=OTHER_COLOUR, lw=0.8, ls=line, label=label)
        if axes.lines:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def draw_warm_start(
    cell: str, table: pd.DataFrame, levels: Mapping[str, Sequence[float]], paired_with: str
) -> Figure:
    """A cell's reward without exploration noise over its own steps, by learner.

    `levels` are the rewards of known policies in this cell, one per seed; the table has a row per
    arm, step and seed of the same traffic. Bands are 95 % intervals of the difference from
    `paired_with`: the traffic of a seed moves all policies together.
    """
    figure, (axes,) = make_panels(1, CURVES_SIZE_IN)
    reference = np.array(levels[paired_with])
    ease = (reference - reference.mean())[table["seed"].to_numpy(int)]
    _draw_curves(axes, table.assign(value=table["value"] - ease), {})
    _draw_levels(axes, {name: float(np.mean(rewards)) for name, rewards in levels.items()})
    _cut_below_curves(axes)
    axes.set(xlabel=f"own steps of {cell}", ylabel="reward without noise")
    axes.set_title(
        f"{cell}: one run of each learner, evaluated on {len(reference)} seeds of traffic\n"
        f"bands: 95 % interval of the difference from {paired_with}", fontsize=8,
    )  # fmt: skip
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_curves(axes: Axes, table: pd.DataFrame, titles: Titles, **style: Any) -> pd.DataFrame:
    """Means over seeds with their intervals. Returns them: columns arm, step, mean, low, high."""
    points: list[tuple[Any, ...]] = []
    for (arm, step), values in table.groupby(["arm", "step"], sort=False)["value"]:
        found = summarise_values(values.to_numpy(float))
        if found["mean"] is not None:
            points.append((arm, step, found["mean"], *(found["ci95"] or 2 * [found["mean"]])))
    bands = pd.DataFrame(points, columns=["arm", "step", "mean", "low", "high"])
    styles = choose_styles(bands["arm"].unique(), titles)
    for arm, band in bands.groupby("arm", sort=False):
        (line,) = axes.plot(band["step"], band["mean"], ms=3, lw=1.4, **styles[str(arm)] | style)
        if (band["high"] > band["low"]).any():
            shade = {"color": line.get_color(), "alpha": 0.15, "lw": 0}
            axes.fill_between(band["step"], band["low"], band["high"], **shade)
    return bands


def _draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for name, style in choose_styles(levels).items():
        axes.axhline(levels[name], lw=1, **style | {"marker": ""})


def _shade(axes: Axes, begin: int, end: int, text: str) -> None:
    if end > begin:
        axes.axvspan(begin, end, color="#000000", alpha=0.05, lw=0)
        axes.text((begin + end) / 2, 0.02, text, ha="center", fontsize=8,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _cut_below_curves(axes: Axes) -> None:
    """The axis begins a tenth below all drawn rewards, so that differences can be seen."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [[0.0]])
    lowest = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
    axes.set_ylim(max(0.0, np.floor(10 * (lowest - 0.02)) / 10), 1.01)


# Distributions over (cell, step)

QUANTILES = np.linspace(0.0, 1.0, 1001)
"""Quantiles at which a distribution's curve is drawn."""
Distributions = Mapping[str, Float[np.ndarray, "..."]]
"""By policy, a value for each (seed, cell, step)."""


def draw_satisfaction_ccdf(
    satisfaction: Distributions, titles: Titles | None = None, *, with_paper: bool = False
) -> Figure:
    """By policy, the share of (cell, step) whose worst slice is satisfied to at least x.

    `with_paper` marks the paper's shares at 0.95 with crosses. Source: the paper, Fig. 5.
    """
    figure, (axes,) = make_panels(1, RUN_SIZE_IN)
    for name, style in choose_styles(satisfaction, titles).items():
        values = np.quantile(satisfaction[name], QUANTILES)
        axes.step(values, 1.0 - QUANTILES, where="pre", lw=1.3, **style | {"marker": ""})
    for name, row in PAPER.items() if with_paper else ():
        share, text = 1 - row["fail_rate_95"], f"paper, {PAPER_TITLES[name]}"
        axes.plot(SATISFIED, share, "x", color=OTHER_COLOUR, ms=6)
        axes.annotate(text, (SATISFIED - 0.01, share), fontsize=6, ha="right", va="center",
                      bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
    axes.axvline(SATISFIED, color=OTHER_COLOUR, lw=0.8, ls=":", label=f"SLA, {SATISFIED}")
    axes.set(xlim=(0, 1.005), xlabel="satisfaction x of the worst slice")
    axes.set(ylim=(0, 1.02), ylabel="share of (cell, step) at or above x")
    axes.legend(fontsize=7, loc="lower left")
    return figure


def draw_delay_cdf(
    delays: Distributions,
    titles: Titles | None = None,
    *,
    unit: str = "ms",
    with_paper: bool = False,
) -> Figure:
    """By policy, the share of (cell, step) whose largest slice delay is at most x.

    `unit` is `ms`, or `SLA` for delays in units of what a slice's SLA allows. `with_paper` marks
    the paper's averages in ms at the top. Source: the paper, Fig. 6.
    """
    figure, (axes,) = make_panels(1, RUN_SIZE_IN)
    for name, style in choose_styles(delays, titles).items():
        values = np.quantile(delays[name], QUANTILES)
        label = f"{style['label']}, mean {delays[name].mean():.2f}{' ms' if unit == 'ms' else ''}"
        style |= {"marker": "", "label": label}
        axes.step(values, QUANTILES, where="post", lw=1.3, **style)
    if unit == "SLA":
        axes.axvline(1.0, color=OTHER_COLOUR, lw=2, label="SLA")
    if with_paper:
        averages = {PAPER_TITLES[name]: row["delay_max_ms"] for name, row in PAPER.items()}
        axes.vlines(list(averages.values()), 0.97, 1.0, color=OTHER_COLOUR, lw=1)
        listed = ", ".join(f"{name} {delay:g}" for name, delay in averages.items())
        axes.annotate(f"paper's averages: {listed}", (0.95 * min(averages.values()), 0.985),
                      fontsize=6, ha="right", va="center")  # fmt: skip
    in_unit = "ms" if unit == "ms" else "in units of what its SLA allows"
    axes.set(xscale="log", xlabel=f"largest slice delay x, {in_unit}")
    axes.set(ylim=(0, 1.02), ylabel="share of (cell, step) at or below x")
    axes.legend(fontsize=7, loc="lower right")
    return figure


# Distances of cells


def draw_gain_over_distance(pairs: pd.DataFrame, measure: str) -> Figure:
    """Gain minus the target's mean gain, over the rank of distance; a panel per step.

    `pairs` has columns step, distance and gain, a row per pair of cells. The line joins means over
    fifths of the pairs. Source: the paper, Fig. 8.
    """
    steps = pairs["step"].unique()
    figure, panels = make_panels(len(steps), (2.6 * len(steps) + 0.6, 3.2))
    for axes, (step, rows) in zip(panels, pairs.groupby("step", sort=False), strict=True):
        distance, gain = rows["distance"].to_numpy(), rows["gain"].to_numpy()
        rank = np.argsort(np.argsort(distance)) / max(len(distance) - 1, 1)
        axes.plot(rank, gain, ".", ms=3, color="#0072B2", alpha=0.4, label="pair of cells")
        fifth = np.clip((5 * rank).astype(int), 0, 4)
        means = rows["gain"].groupby(fifth).mean()
        axes.plot(0.1 + 0.2 * means.index.to_numpy(), means, "o-", ms=4, color="#D55E00",
                  label="mean of a fifth")  # fmt: skip
        axes.axhline(0, color=OTHER_COLOUR, lw=0.8)
        correlation = rank_correlation(distance, gain)
        axes.set_title(f"{step} steps, Spearman {correlation:+.2f}", fontsize=8)
        axes.set_xlabel(f"rank of {measure} distance", fontsize=8)
    panels[0].set_ylabel("gain − target's mean gain")
    panels[0].legend(fontsize=7)
    return figure
