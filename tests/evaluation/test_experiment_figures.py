"""What an experiment's figures show."""

import numpy as np
import pytest

from slicing_rllib.evaluation.experiment_figures import (
    Band,
    colours_of,
    delay_cdfs,
    gain_over_distance,
    reward_bands,
    satisfaction_ccdfs,
)


def band(*steps: float) -> Band:
    level = [0.5] * len(steps)
    return Band(steps, level, level, level)


@pytest.mark.parametrize(
    ("first", "scale"), [(0.0, "symlog"), (50.0, "symlog"), (2000.0, "linear")]
)
def test_curves_that_begin_late_are_not_squeezed_by_a_logarithm(first: float, scale: str):
    figure = reward_bands({"drl": band(first, 8000.0)}, {"oracle": 0.9}, {"drl": "DRL"})

    assert figure.axes[0].get_xscale() == scale


def test_every_arm_has_a_colour_of_its_own():
    arms = ["drl", "tl", "oracle", "one", "two", "three", "four"]

    assert len(set(colours_of(arms).values())) == len(arms)


def test_no_two_of_many_arms_look_alike():
    arms = [f"arm {number}" for number in range(18)]
    figure = reward_bands({arm: band(0.0, 8.0) for arm in arms}, {}, {arm: arm for arm in arms})
    lines = figure.axes[0].lines

    assert (
        len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}) == 18
    )


def test_the_papers_shares_are_marked_and_curves_fall():
    figure = satisfaction_ccdfs({"drl": np.linspace(0, 1, 500)}, {"drl": "DRL"}, marked=True)
    (axes,) = figure.axes
    said = [text.get_text() for text in axes.texts]
    crosses = sorted(float(np.ravel(line.get_ydata())[0]) for line in axes.lines[1:4])

    assert said == ["paper, baseline", "paper, DRL", "paper, TL"]
    assert crosses == pytest.approx([0.75, 0.81, 0.88])
    assert (np.diff(np.asarray(axes.lines[0].get_ydata())) <= 0).all()


def test_the_papers_averages_are_marked_where_they_belong():
    delays = {"drl": np.linspace(0.1, 10, 500)}
    marked, plain = (
        delay_cdfs(delays, {"drl": "DRL"}, marked=each).axes[0] for each in (True, False)
    )

    said = [text.get_text() for text in marked.texts]
    assert said == ["paper's averages: baseline 1.8, DRL 1.7, TL 1.5"]
    assert not plain.texts


def test_a_panel_per_step_says_its_correlation():
    distance = np.arange(10.0)
    gains = {50: -distance, 4000: np.zeros(10)}
    figure = gain_over_distance(distance, gains, {50: 1.0, 4000: 0.0}, "mean_shift")

    assert [axes.get_title() for axes in figure.axes] == [
        "50 steps, Spearman +1.00",
        "4000 steps, Spearman +0.00",
    ]
