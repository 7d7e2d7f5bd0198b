"""Figures of a run and of benchmarks, as PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slicing_rllib.evaluation.figure_style import (
    COLOURS,
    OTHER_COLOUR,
    STYLE,
    choose_line_style,
    make_axes,
)
from slicing_rllib.evaluation.statistics import SATISFIED

RUN_SIZE_IN = (6.0, 3.8)
"""Width and height of a run's figures, in inches."""
MEMORY_LIMIT_GIB = 4.0
"""Memory that the simulator of a city of 1,024 sites may take."""
BAR_COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00")


def draw_reward_curve(
    env_steps: Sequence[float],
    while_learning: Sequence[float],
    evaluated: Sequence[tuple[float, float]],
    references: Mapping[str, float],
    exploration_steps: int,
) -> Figure:
    """Mean reward over training steps, with and without exploration noise.

    `while_learning` has a reward per entry of `env_steps`; `evaluated` are (step, reward) without
    noise; `references` are the levels of known policies; `exploration_steps` are shaded.
    """
    figure, axes = make_axes(*RUN_SIZE_IN, x_label="network step", y_label="mean reward of eq. (2)")
    axes.plot(
        env_steps, while_learning, color=COLOURS["drl"], alpha=0.35, lw=1, label="while learning"
    )
    if evaluated:
        steps, rewards = zip(*evaluated, strict=True)
        axes.plot(
            steps, rewards, color=COLOURS["drl"], marker="o", ms=3, label="evaluated, no noise"
        )
    for name, level in references.items():
        axes.axhline(level, lw=1, **choose_line_style(name))
    if exploration_steps:
        axes.axvspan(0, exploration_steps, color="#000000", alpha=0.05, lw=0)
        axes.text(exploration_steps / 2, 0.02, "exploration", ha="center", fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    return figure


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
    axes.axvline(SATISFIED, color=OTHER_COLOUR, lw=0.8, ls=":")
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower left")
    return figure


def draw_delay_cdf(delay_max_ms: Mapping[str, Float[np.ndarray, "..."]]) -> Figure:
    """By policy, the share of (cell, step) whose largest slice delay is at most x.

    Source: the paper, Fig. 6.
    """
    figure, axes = make_axes(
        *RUN_SIZE_IN,
        x_label="largest slice delay x, ms",
        y_label="share of (cell, step) at or below x",
    )
    for name, values in delay_max_ms.items():
        ordered = np.sort(values.ravel())
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, share, where="post", lw=1.4, **choose_line_style(name))
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
