"""Figures of a run and of benchmarks, as PNG and SVG.

Colours and style of all figures.

Figures of transfer: similarity of cells, and rewards after a warm start.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from slicing_rllib.evaluation.statistics import SATISFIED

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


RUN_SIZE_IN = (6.0, 3.8)
"""Width and height of a run's figures, in inches."""
MEMORY_LIMIT_GIB = 4.0
"""Memory that the simulator of a city of 1,024 sites may take."""
BAR_COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00")


class TrainingCurve(NamedTuple):
    """Rewards while a run trains: its own, and those of other splits in the same steps."""

    env_steps: Sequence[float]
    rewards: Sequence[float]
    same_steps: Mapping[str, Sequence[float]]
    """By split, a reward per entry of `env_steps`, NaN where it is not known."""
    smoothing_steps: int
    """Network steps that each value is a mean over."""


def draw_reward_curve(
    training: TrainingCurve,
    evaluated: Sequence[tuple[float, float]],
    references: Mapping[str, float],
    exploration_steps: int,
) -> Figure:
    """Mean reward over training steps: evaluated without noise, and while learning.

    `evaluated` are (step, reward) without noise; `references` are the levels of known policies on
    the traffic of that evaluation. What the run got while learning is on other traffic, so it has a
    panel of its own, beside other splits in the same steps. `exploration_steps` are shaded.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(RUN_SIZE_IN[0], 5.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
    if evaluated:
        steps, rewards = zip(*evaluated, strict=True)
        upper.plot(steps, rewards, color=COLOURS["drl"], marker="o", ms=3, label="this run")
    else:
        upper.text(0.5, 0.5, "not evaluated while training", ha="center", transform=upper.transAxes)
    for name, level in references.items():
        upper.axhline(level, lw=1, **choose_line_style(name))
    upper.set_title("evaluated without noise, all on the same traffic", fontsize=8)
    over = f"mean over {training.smoothing_steps} steps"
    lower.plot(training.env_steps, training.rewards, color=COLOURS["drl"], lw=1.2, label="this run")
    for name, values in training.same_steps.items():
        lower.plot(training.env_steps, values, lw=1, **choose_line_style(name))
    lower.set_title(f"while learning, {over}; other splits in the same steps", fontsize=8)
    lower.set_xlabel("network step")
    for axes in (upper, lower):
        axes.set_ylabel("mean reward of eq. (2)")
        _shade_exploration(axes, exploration_steps)
        axes.set_ylim(_choose_floor(axes), 1.01)
        if axes.lines:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _shade_exploration(axes: Axes, steps: int) -> None:
    if steps:
        axes.axvspan(0, steps, color="#000000", alpha=0.05, lw=0)
        axes.text(steps / 2, 0.02, "exploration", ha="center", fontsize=8,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _choose_floor(axes: Axes) -> float:
    """The tenth below all drawn rewards, so that differences between them can be seen."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [[0.0]])
    lowest = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
    return max(0.0, np.floor(10 * (lowest - 0.02)) / 10)


def draw_satisfaction_ccdf(satisfaction: Mapping[str, Float[np.ndarray, "..."]]) -> Figure:
    """By policy, the share of (cell, step) whose worst slice is satisfied to at least x.

    Source: the paper, Fig. 5.
    """
    figure, axes = make_axes(
        *RUN_SIZE_IN,
        x_label="satisfaction x of the worst slice",
        y_label="share of (cell, step) at or above x",
    )
    for name, values in satisfaction.items():
        ordered = np.sort(values.ravel())
        share = 1.0 - np.arange(len(ordered)) / len(ordered)
        axes.step(ordered, share, where="pre", lw=1.4, **choose_line_style(name))
    axes.axvline(SATISFIED, color=OTHER_COLOUR, lw=0.8, ls=":", label=f"SLA, {SATISFIED}")
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower left")
    return figure


def draw_delay_cdf(delay_to_sla_max: Mapping[str, Float[np.ndarray, "..."]]) -> Figure:
    """By policy, the share of (cell, step) whose delays are at most x times what was promised.

    A slice's delay counts in units of the delay that its SLA allows; the worst slice decides.
    Source: the paper, Fig. 6, which shows milliseconds.
    """
    figure, axes = make_axes(
        *RUN_SIZE_IN,
        x_label="delay over what the SLA allows, x, worst slice",
        y_label="share of (cell, step) at or below x",
    )
    for name, values in delay_to_sla_max.items():
        ordered = np.sort(values.ravel())
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, share, where="post", lw=1.4, **choose_line_style(name))
    axes.axvline(1.0, color=OTHER_COLOUR, lw=2, label="SLA")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `name.png` and `name.svg`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with mpl.rc_context(STYLE):
        figure.savefig(paths[0], dpi=160)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def draw_growth(
    cells: Sequence[int], step_ms: Sequence[float], peak_gib: Sequence[float]
) -> Figure:
    """Time and peak memory of a simulated step over the number of cells.

    Dotted lines: time in proportion to the smallest network, and MEMORY_LIMIT_GIB.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
    for axes, values, what in zip(
        panels, (step_ms, peak_gib), ("time of a step, ms", "peak memory, GiB"), strict=True
    ):
        proportional = [values[0] * n / cells[0] for n in cells]
        axes.loglog(cells, values, color=COLOURS["drl"], marker="o", ms=4, label="measured")
        if axes is panels[0]:
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


def draw_coupling(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """How splits affect other cells, and what a message adds, from `bench coupling`'s rows."""
    found = {row["name"]: row for row in rows}
    networks = list(dict.fromkeys(".".join(name.split(".")[1:3]) for name in found))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        panels = figure.subplots(1, 2)
    effects = [("tenth.one_cell", "one cell moves a tenth"),
            ("tenth.neighbours", "all neighbours move a tenth"),
            ("any_split.one_cell", "one cell takes a random split"),
            ("any_split.neighbours", "all neighbours take random splits")]  # fmt: skip
    messages = [("message.mean_load", "neighbours' mean load"),
            ("message.per_neighbour", "each neighbour's load"),
            ("message.foreseen", "next step's mean load (not observable)")]  # fmt: skip
    _draw_bars(panels[0], found, networks, [(f"{key}.throughput", label) for key, label in effects])
    panels[0].set_yscale("symlog", linthresh=0.1)
    panels[0].set_ylabel("change of throughput, %")
    _draw_bars(panels[1], found, networks, messages)
    panels[1].set_ylabel("reward added to a forecast")
    panels[1].axhline(0, color=OTHER_COLOUR, lw=0.8)
    return figure


def _draw_bars(
    axes: Axes,
    found: Mapping[str, Mapping[str, Any]],
    networks: Sequence[str],
    quantities: Sequence[tuple[str, str]],
) -> None:
    """A group of bars with intervals for each network."""
    width = 0.8 / len(quantities)
    for number, (key, label) in enumerate(quantities):
        cells = [found[f"coupling.{network}.{key}"] for network in networks]
        values = np.array([row["value"] for row in cells])
        reach = np.abs(np.array([(row["low"], row["high"]) for row in cells]).T - values)
        places = np.arange(len(networks)) + (number - (len(quantities) - 1) / 2) * width
        axes.bar(places, values, width, yerr=reach, color=BAR_COLOURS[number], label=label,
                 error_kw={"lw": 0.8})  # fmt: skip
    axes.set_xticks(range(len(networks)), [network.replace(".", "\n") for network in networks])
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


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
