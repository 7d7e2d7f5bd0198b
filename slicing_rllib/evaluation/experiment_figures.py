"""Figures of an experiment: the paper's figures 4 to 8 with the paper's own numbers in them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from slicing_rllib.evaluation.figures import COLOURS, STYLE
from slicing_rllib.evaluation.paper_numbers import PAPER, PAPER_TITLES

ARM_COLOURS = ("#009E73", "#CC79A7", "#F0E442", "#66A61E", "#7570B3", "#A6761D", "#E7298A")
"""For arms that are no policies of the fixed palette."""
STROKES = (("o", "-"), ("s", ":"), ("^", "-."))
"""Marker and line of the first, second and third arm of one colour."""
LEVELS = np.linspace(0.0, 1.0, 1001)
"""Points of a distribution's curve."""
EARLY_STEPS = 50
"""Curves that begin later have nothing to show on a logarithmic axis."""


class Band(NamedTuple):
    """A curve over seeds."""

    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Known policies in their own colour, others each in one that no policy has."""
    listed = list(names)
    others = [name for name in listed if name not in COLOURS]
    own = {name: ARM_COLOURS[i % len(ARM_COLOURS)] for i, name in enumerate(others)}
    return {name: COLOURS.get(name) or own[name] for name in listed}


def reward_bands(bands: Mapping[str, Band], levels: Mapping[str, float], titles: Mapping[str, str]):
    """Reward without noise over own steps, with 95 % intervals over seeds: Fig. 4."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 4.0), layout="constrained")
        axes = figure.add_subplot()
    shades = colours_of(bands)
    drawn: Counter[str] = Counter()
    for name, band in bands.items():
        shade = shades[name]
        marker, line = STROKES[drawn[shade] % len(STROKES)]
        drawn[shade] += 1
        look = {"color": shade, "marker": marker, "ls": line, "ms": 3, "lw": 1.4}
        axes.plot(band.steps, band.mean, label=titles[name], **look)
        axes.fill_between(band.steps, band.low, band.high, color=shade, alpha=0.15, lw=0)
    for name, level in levels.items():
        axes.axhline(level, color=COLOURS[name], ls="--", lw=1, label=name)
    if min(band.steps[0] for band in bands.values()) <= EARLY_STEPS:
        axes.set_xscale("symlog", linthresh=EARLY_STEPS)
    axes.set_xlim(left=0)
    axes.set_xlabel("steps under its own policy")
    axes.set_ylabel("mean reward, evaluated without noise")
    figure.legend(fontsize=7, loc="outside right upper")
    return figure


def satisfaction_ccdfs(
    values: Mapping[str, Float[np.ndarray, "..."]], titles: Mapping[str, str], *, marked: bool
) -> Figure:
    """Share of (cell, step) satisfied to at least x: Fig. 5.

    Marked, the paper's shares are crosses.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
    shades = colours_of(values)
    for name, satisfied in values.items():
        ordered = np.quantile(satisfied, LEVELS)
        share = 1.0 - LEVELS
        label = titles.get(name, name)
        axes.step(ordered, share, where="pre", color=shades[name], lw=1.3, label=label)
    for name, row in PAPER.items() if marked else ():
        place, said = 1 - row["fail_rate_95"], f"paper, {PAPER_TITLES[name]}"
        axes.plot(0.95, place, "x", color="#444444", ms=6)
        axes.annotate(said, (0.945, place), fontsize=6, ha="right", va="center")
    axes.axvline(0.95, color="#444444", lw=0.8, ls=":")
    axes.set_xlim(0.3, 1.005)
    axes.set_ylim(0.3, 1.01)
    axes.set_xlabel("satisfaction x of the worst slice")
    axes.set_ylabel("share of (cell, step) at or above x")
    axes.legend(fontsize=7, loc="lower left")
    return figure


def delay_cdfs(
    values: Mapping[str, Float[np.ndarray, "..."]], titles: Mapping[str, str], *, marked: bool
) -> Figure:
    """Share of (cell, step) whose largest slice delay is at most x: Fig. 6.

    Marked, the paper's averages are ticks on top.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
    shades = colours_of(values)
    for name, delays in values.items():
        ordered, share = np.quantile(delays, LEVELS), LEVELS
        label = f"{titles.get(name, name)}, mean {delays.mean():.2f} ms"
        axes.step(ordered, share, where="post", color=shades[name], lw=1.3, label=label)
    if marked:
        averages = {PAPER_TITLES[name]: row["delay_max_ms"] for name, row in PAPER.items()}
        axes.vlines(list(averages.values()), 0.97, 1.0, color="#444444", lw=1)
        said = ", ".join(f"{name} {delay:g}" for name, delay in averages.items())
        place = (0.95 * min(averages.values()), 0.985)
        axes.annotate(f"paper's averages: {said}", place, fontsize=6, ha="right", va="center")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("largest slice delay x, ms")
    axes.set_ylabel("share of (cell, step) at or below x")
    axes.legend(fontsize=7, loc="lower right")
    return figure


def gain_over_distance(
    distance: Float[np.ndarray, " pair"],
    gain_by_step: Mapping[int, Float[np.ndarray, " pair"]],
    correlation: Mapping[int, float],
    measure: str,
) -> Figure:
    """Gain at equal steps, less the target's mean over all its sources, by distance: Fig. 8."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * len(gain_by_step) + 0.6, 3.2), layout="constrained")
        panels = figure.subplots(1, len(gain_by_step), squeeze=False)[0]
    place = np.argsort(np.argsort(distance)) / max(len(distance) - 1, 1)
    for axes, (step, gain) in zip(panels, gain_by_step.items(), strict=True):
        axes.plot(place, gain, ".", ms=3, color="#0072B2", alpha=0.4)
        edges = np.linspace(0, 1, 6)
        which = np.clip(np.digitize(place, edges) - 1, 0, 4)
        means = [gain[which == i].mean() for i in range(5) if (which == i).any()]
        axes.plot(0.5 * (edges[1:] + edges[:-1])[: len(means)], means, "o-", ms=4, color="#D55E00")
        axes.axhline(0, color="#444444", lw=0.8)
        axes.set_title(f"{step} steps, Spearman {correlation[step]:+.2f}", fontsize=8)
        axes.set_xlabel(f"rank of {measure} distance", fontsize=8)
    panels[0].set_ylabel("gain less the target's mean")
    return figure
