"""What the figures of a run show."""

import numpy as np
import pytest

from slicing_rllib.evaluation.figures import (
    draw_delay_cdf,
    draw_reward_curve,
    draw_satisfaction_ccdf,
    save,
)


def read_legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_reward_curve_shows_training_evaluation_and_references():
    figure = draw_reward_curve(
        env_steps=[100, 200, 300],
        while_learning=[0.2, 0.3, 0.4],
        evaluated=[(200, 0.5), (300, 0.6)],
        references={"oracle": 0.9, "equal": 0.4},
        exploration_steps=150,
    )
    (axes,) = figure.axes
    learning, evaluated, oracle, equal = axes.lines

    assert read_legend(axes) == ["while learning", "evaluated, no noise", "oracle", "equal"]
    assert learning.get_ydata() == pytest.approx([0.2, 0.3, 0.4])
    assert evaluated.get_xydata() == pytest.approx(np.array([[200, 0.5], [300, 0.6]]))
    assert (oracle.get_ydata()[0], oracle.get_linestyle()) == (0.9, "-")
    assert (equal.get_ydata()[0], equal.get_linestyle()) == (0.4, "--")
    assert [text.get_text() for text in axes.texts] == ["exploration"]


def test_a_run_without_exploration_has_no_shaded_steps():
    figure = draw_reward_curve([1], [0.5], [], {}, exploration_steps=0)

    assert not figure.axes[0].texts
    assert not figure.axes[0].patches


def test_the_satisfaction_curve_is_the_share_at_or_above_x():
    """Of .25, .5, .75 and 1, three quarters are at least .5."""
    (axes,) = draw_satisfaction_ccdf({"drl": np.array([1.0, 0.5, 0.25, 0.75])}).axes
    curve, threshold = axes.lines

    assert curve.get_xydata()[1] == pytest.approx([0.5, 0.75])
    assert threshold.get_xdata() == pytest.approx([0.95, 0.95])


def test_the_delay_curve_is_the_share_at_or_below_x():
    """Of 1, 2, 4 and 8 ms, half are at most 2 ms."""
    (axes,) = draw_delay_cdf({"tl": np.array([8.0, 2.0, 1.0, 4.0])}).axes

    assert axes.lines[0].get_xydata()[1] == pytest.approx([2.0, 0.5])
    assert axes.get_xscale() == "log"
    assert read_legend(axes) == ["tl"]


def test_a_figure_is_saved_twice_and_the_svg_is_reproducible(tmp_path):
    paths = [
        save(draw_delay_cdf({"tl": np.array([1.0, 2.0])}), tmp_path / name, "delay")
        for name in ("a", "b")
    ]

    assert [path.name for path in paths[0]] == ["delay.png", "delay.svg"]
    assert paths[0][0].read_bytes().startswith(b"\x89PNG")
    assert paths[0][1].read_bytes() == paths[1][1].read_bytes()
