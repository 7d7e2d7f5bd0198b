"""What the figures of a run show."""

import numpy as np
import pytest

from slicing_rllib.evaluation.figures import (
    TrainingCurve,
    draw_delay_cdf,
    draw_reward_curve,
    draw_satisfaction_ccdf,
    save,
)


def read_legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def make_training(env_steps, rewards, **same_steps) -> TrainingCurve:
    return TrainingCurve(env_steps, rewards, same_steps, smoothing_steps=400)


def test_the_reward_curve_has_a_panel_per_traffic():
    """Above: evaluation and references on its traffic. Below: training and the same steps."""
    figure = draw_reward_curve(
        make_training([100, 200, 300], [0.2, 0.3, 0.4], equal=[0.1, 0.2, 0.2]),
        evaluated=[(200, 0.5), (300, 0.6)],
        references={"oracle": 0.9, "equal": 0.4},
        exploration_steps=150,
    )
    upper, lower = figure.axes
    evaluated, oracle, equal = upper.lines
    learning, same = lower.lines

    assert read_legend(upper) == ["this run", "oracle", "equal"]
    assert read_legend(lower) == ["this run", "equal"]
    assert "mean over 400 steps" in lower.get_title()
    assert learning.get_ydata() == pytest.approx([0.2, 0.3, 0.4])
    assert same.get_ydata() == pytest.approx([0.1, 0.2, 0.2])
    assert evaluated.get_xydata() == pytest.approx(np.array([[200, 0.5], [300, 0.6]]))
    assert (oracle.get_ydata()[0], oracle.get_linestyle()) == (0.9, "-")
    assert (equal.get_ydata()[0], equal.get_linestyle()) == (0.4, "--")
    assert [text.get_text() for text in lower.texts] == ["exploration"]


def test_the_reward_axis_begins_below_the_lowest_reward():
    """Rewards of .83 and more would be a flat line on an axis from 0."""
    figure = draw_reward_curve(make_training([1, 2], [0.83, 0.9]), [(1, 0.95)], {}, 0)
    upper, lower = figure.axes

    assert upper.get_ylim()[0] == pytest.approx(0.9)
    assert lower.get_ylim()[0] == pytest.approx(0.8)


def test_a_run_without_exploration_has_no_shaded_steps():
    figure = draw_reward_curve(make_training([1], [0.5]), [(1, 0.5)], {}, exploration_steps=0)

    assert all(not axes.texts and not axes.patches for axes in figure.axes)


def test_the_satisfaction_curve_is_the_share_at_or_above_x():
    """Of .25, .5, .75 and 1, three quarters are at least .5."""
    (axes,) = draw_satisfaction_ccdf({"drl": np.array([1.0, 0.5, 0.25, 0.75])}).axes
    curve, threshold = axes.lines

    assert curve.get_xydata()[1] == pytest.approx([0.5, 0.75])
    assert threshold.get_xdata() == pytest.approx([0.95, 0.95])


def test_the_delay_curve_is_the_share_at_or_below_x():
    """Of 1, 2, 4 and 8 times the promise, half are at most 2 times; the promise is marked."""
    (axes,) = draw_delay_cdf({"tl": np.array([8.0, 2.0, 1.0, 4.0])}).axes

    assert axes.lines[0].get_xydata()[1] == pytest.approx([2.0, 0.5])
    assert axes.get_xscale() == "log"
    assert read_legend(axes) == ["tl", "SLA"]
    assert list(axes.lines[1].get_xdata()) == [1.0, 1.0]


def test_a_figure_is_saved_twice_and_the_svg_is_reproducible(tmp_path):
    paths = [
        save(draw_delay_cdf({"tl": np.array([1.0, 2.0])}), tmp_path / name, "delay")
        for name in ("a", "b")
    ]

    assert [path.name for path in paths[0]] == ["delay.png", "delay.svg"]
    assert paths[0][0].read_bytes().startswith(b"\x89PNG")
    assert paths[0][1].read_bytes() == paths[1][1].read_bytes()
