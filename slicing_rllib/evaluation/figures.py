"""Figures of a run: colour-blind-safe, PNG and SVG, one style."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
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
    "drl": "#0072B2",
    "tl": "#D55E00",
}
"""Okabe and Ito's palette, with two more for policies seldom shown together."""
DASHED = ("equal", "traffic_aware", "sla_weighted", "best_static", "persistence", "oracle_o1")
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "slicing-rllib",
}
SATISFIED = 0.95


def reward_curve(
    env_steps: Sequence[float],
    while_learning: Sequence[float],
    evaluated: Sequence[tuple[float, float]],
    references: Mapping[str, float],
    exploration_steps: int,
) -> Figure:
    """Reward over training: with exploration noise, without, and what others get."""
    figure, axes = _axes("network step", "mean reward of eq. (2)")
    axes.plot(
        env_steps, while_learning, color=COLOURS["drl"], alpha=0.35, lw=1, label="while learning"
    )
    if evaluated:
        steps, rewards = zip(*evaluated, strict=True)
        axes.plot(
            steps, rewards, color=COLOURS["drl"], marker="o", ms=3, label="evaluated, no noise"
        )
    for name, level in references.items():
        style = "--" if name in DASHED else "-"
        axes.axhline(level, color=COLOURS.get(name, "#444444"), ls=style, lw=1, label=name)
    if exploration_steps:
        axes.axvspan(0, exploration_steps, color="#000000", alpha=0.05, lw=0)
        axes.text(exploration_steps / 2, 0.02, "exploration", ha="center", fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def satisfaction_ccdf(satisfaction: Mapping[str, Float[np.ndarray, "..."]]) -> Figure:
    """Share of (cell, step) whose worst slice is satisfied to at least x: Fig. 5 of the paper."""
    figure, axes = _axes("satisfaction x of the worst slice", "share of (cell, step) at or above x")
    for name, values in satisfaction.items():
        ordered = np.sort(values.ravel())
        axes.step(ordered, 1.0 - np.arange(len(ordered)) / len(ordered), where="pre", **_line(name))
    axes.axvline(SATISFIED, color="#444444", lw=0.8, ls=":")
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower left")
    return figure


def delay_cdf(delay_max_ms: Mapping[str, Float[np.ndarray, "..."]]) -> Figure:
    """Share of (cell, step) whose largest slice delay is at most x: Fig. 6 of the paper."""
    figure, axes = _axes("largest slice delay x, ms", "share of (cell, step) at or below x")
    for name, values in delay_max_ms.items():
        ordered = np.sort(values.ravel())
        axes.step(
            ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", **_line(name)
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def parallel_coordinates(
    settings: Sequence[Mapping[str, Any]], values: Sequence[float], metric: str
) -> Figure:
    """A line per trial through its settings to its result; the best dark."""
    keys = [*settings[0], metric]
    rows = [[*row.values(), value] for row, value in zip(settings, values, strict=True)]
    columns = [_heights(column) for column in zip(*rows, strict=True)]
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


def _heights(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where values of one setting stand between 0 and 1, and which of them are written out."""
    numbers = all(isinstance(value, int | float) for value in column)
    known: list[Any] = sorted(set(column) if numbers else {str(value) for value in column})
    if numbers and known[0] > 0 and known[-1] / known[0] > 20:
        scaled = np.log(np.array(known, float))
    elif numbers:
        scaled = np.array(known, float)
    else:
        scaled = np.arange(len(known), dtype=float)
    span = float(scaled[-1] - scaled[0]) or 1.0
    at = dict(zip(known, ((scaled - scaled[0]) / span).tolist(), strict=True))
    ends = known if len(known) <= 4 else [known[0], known[-1]]
    ticks = [(at[value], f"{value:.3g}" if numbers else str(value)) for value in ends]
    return [at[value if numbers else str(value)] for value in column], ticks


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `name.png` and `name.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with mpl.rc_context(STYLE):
        figure.savefig(paths[0], dpi=160)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.8), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _line(name: str) -> dict[str, Any]:
    style = "--" if name in DASHED else "-"
    return {"color": COLOURS.get(name, "#444444"), "ls": style, "lw": 1.4, "label": name}


MEMORY_LIMIT_GIB = 4.0
"""What a city of 1,024 sites may take."""


def growth(cells: Sequence[int], step_ms: Sequence[float], peak_gib: Sequence[float]) -> Figure:
    """Time and memory of a simulator over the size of its network, beside the proportional."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
    for axes, values, what in zip(
        panels, (step_ms, peak_gib), ("time of a step, ms", "peak memory, GiB"), strict=True
    ):
        proportional = [values[0] * n / cells[0] for n in cells]
        axes.loglog(cells, values, color=COLOURS["drl"], marker="o", ms=4, label="measured")
        if axes is panels[0]:
            axes.loglog(cells, proportional, color="#444444", ls=":", label="in proportion")
        else:
            axes.axhline(MEMORY_LIMIT_GIB, color="#444444", ls=":", label="limit")
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


def coupling(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What splits do to neighbours, and what a message is worth, from `bench coupling`'s rows."""
    found = {row["name"]: row for row in rows}
    networks = list(dict.fromkeys(".".join(name.split(".")[1:3]) for name in found))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        panels = figure.subplots(1, 2)
    felt = [("tenth.one_cell", "one cell moves a tenth"),
            ("tenth.neighbours", "all neighbours move a tenth"),
            ("any_split.one_cell", "one cell splits anyhow"),
            ("any_split.neighbours", "all neighbours split anyhow")]  # fmt: skip
    told = [("message.mean_load", "neighbours' mean load"),
            ("message.per_neighbour", "each neighbour's load"),
            ("message.foreseen", "next step's mean load, not to be had")]  # fmt: skip
    _bars(panels[0], found, networks, [(f"{key}.throughput", label) for key, label in felt])
    panels[0].set_yscale("symlog", linthresh=0.1)
    panels[0].set_ylabel("change of throughput felt, %")
    _bars(panels[1], found, networks, told)
    panels[1].set_ylabel("reward that it adds to a forecast")
    panels[1].axhline(0, color="#444444", lw=0.8)
    return figure


def _bars(
    axes: Axes,
    found: Mapping[str, Mapping[str, Any]],
    networks: Sequence[str],
    quantities: Sequence[tuple[str, str]],
) -> None:
    """A group of bars with intervals per network."""
    palette = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00")
    width = 0.8 / len(quantities)
    for number, (key, label) in enumerate(quantities):
        cells = [found[f"coupling.{network}.{key}"] for network in networks]
        values = np.array([row["value"] for row in cells])
        reach = np.abs(np.array([(row["low"], row["high"]) for row in cells]).T - values)
        places = np.arange(len(networks)) + (number - (len(quantities) - 1) / 2) * width
        axes.bar(places, values, width, yerr=reach, color=palette[number], label=label,
                 error_kw={"lw": 0.8})  # fmt: skip
    axes.set_xticks(range(len(networks)), [network.replace(".", "\n") for network in networks])
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
