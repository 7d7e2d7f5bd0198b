"""What the figures of an experiment show."""

import numpy as np
import pytest

from slicing_rllib.evaluation.experiment_figures import (
    LOWEST_GAIN,
    Band,
    assign_colours,
    draw_delay_cdfs,
    draw_gain_bands,
    draw_gain_over_distance,
    draw_reward_bands,
    draw_satisfaction_ccdfs,
)
from slicing_rllib.evaluation.figures import COLOURS


def make_band(*steps: float) -> Band:
    level = [0.5] * len(steps)
    return Band(steps, level, level, level)


@pytest.mark.parametrize(
    ("first", "scale"), [(0.0, "symlog"), (50.0, "symlog"), (2000.0, "linear")]
)
def test_only_curves_that_begin_early_get_a_logarithmic_axis(first: float, scale: str):
    figure = draw_reward_bands({"drl": make_band(first, 8000.0)}, {"oracle": 0.9}, {"drl": "DRL"})

    assert figure.axes[0].get_xscale() == scale


def test_a_figure_of_gains_shows_what_is_near_the_baseline():
    near = Band([0.0, 50.0], [0.02, 0.03], [0.01, 0.02], [0.03, 0.04])
    far = Band([0.0, 50.0], [-0.4, 0.01], [-1.5, 0.0], [1.0, 0.02])
    titles = {"near": "near", "far": "far"}

    shown = draw_gain_bands({"near": near}, titles).axes[0]
    cut = draw_gain_bands({"near": near, "far": far}, titles).axes[0]

    assert shown.get_ylim()[0] > 0.0 - 0.02
    assert cut.get_ylim()[0] == LOWEST_GAIN
    assert cut.get_ylim()[1] < 0.1
    assert "not shown" in cut.get_title(loc="left")


def test_baselines_without_a_colour_of_their_own_are_drawn():
    figure = draw_reward_bands({"drl": make_band(0.0)}, {"new_baseline": 0.9}, {"drl": "DRL"})

    assert "new_baseline" in [str(line.get_label()) for line in figure.axes[0].lines]


def test_every_arm_has_its_own_colour():
    arms = ["drl", "tl", "oracle", "one", "two", "three", "four"]

    assert len(set(assign_colours(arms).values())) == len(arms)


def test_no_two_of_eighteen_arms_share_colour_marker_and_line():
    arms = [f"arm {number}" for number in range(18)]
    figure = draw_reward_bands(
        {arm: make_band(0.0, 8.0) for arm in arms}, {}, {arm: arm for arm in arms}
    )
    lines = figure.axes[0].lines

    assert (
        len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}) == 18
    )


def test_the_oracles_share_a_colour_and_have_lines_of_their_own():
    oracles = ("oracle", "oracle_throughput", "oracle_delay")
    values = {name: np.linspace(0.1, 1.0, 50) for name in oracles}
    figures = [
        draw_delay_cdfs(values, {}, with_paper=False),
        draw_satisfaction_ccdfs(values, {}, with_paper=False),
        draw_reward_bands({"drl": make_band(0.0)}, dict.fromkeys(oracles, 0.9), {"drl": "DRL"}),
    ]

    for figure in figures:
        lines = [
            line for line in figure.axes[0].lines if str(line.get_label()).startswith("oracle")
        ]
        assert {line.get_color() for line in lines} == {COLOURS["oracle"]}
        assert len({line.get_linestyle() for line in lines}) == 3


def test_the_papers_shares_are_marked_and_the_curve_falls():
    figure = draw_satisfaction_ccdfs(
        {"drl": np.linspace(0, 1, 500)}, {"drl": "DRL"}, with_paper=True
    )
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    crosses = sorted(float(np.ravel(line.get_ydata())[0]) for line in axes.lines[1:4])

    assert texts == ["paper, baseline", "paper, DRL", "paper, TL"]
    assert crosses == pytest.approx([0.75, 0.81, 0.88])
    assert (np.diff(np.asarray(axes.lines[0].get_ydata())) <= 0).all()


def test_the_papers_averages_are_listed_only_on_request():
    delays = {"drl": np.linspace(0.1, 10, 500)}
    marked, plain = (
        draw_delay_cdfs(delays, {"drl": "DRL"}, with_paper=each).axes[0] for each in (True, False)
    )

    texts = [text.get_text() for text in marked.texts]
    assert texts == ["paper's averages: baseline 1.8, DRL 1.7, TL 1.5"]
    assert not plain.texts


def test_every_step_has_a_panel_with_its_correlation():
    distance = np.arange(10.0)
    gains = {50: -distance, 4000: np.zeros(10)}
    figure = draw_gain_over_distance(distance, gains, {50: 1.0, 4000: 0.0}, "mean_shift")

    assert [axes.get_title() for axes in figure.axes] == [
        "50 steps, Spearman +1.00",
        "4000 steps, Spearman +0.00",
    ]
