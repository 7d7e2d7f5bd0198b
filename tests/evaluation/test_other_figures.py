"""What the figure of a sweep shows."""

from itertools import pairwise

import pandas as pd
import pytest

from slicing_rllib.evaluation.other_figures import draw_parallel_coordinates


def draw(settings: list, values: list, metric: str = "reward", names: tuple = ()):
    return draw_parallel_coordinates(pd.DataFrame(settings).assign(**{metric: values}), names)


def read_trials(axes) -> list:
    """Lines that go through all columns; ticks and axes have other numbers of points or places."""
    return [line for line in axes.lines if list(line.get_xdata()) == [0, 1]
            and line.get_gid() != "axis"]  # fmt: skip


def test_every_trial_is_a_line_from_its_settings_to_its_result():
    """Learning rates span two decades, so 1e-3 lies halfway; .7 of .5 to .9 as well."""
    figure = draw([{"lr": 1e-4}, {"lr": 1e-3}, {"lr": 1e-2}], [0.5, 0.7, 0.9], "reward")
    (axes,) = figure.axes
    heights = sorted(tuple(line.get_ydata()) for line in read_trials(axes))

    assert [label.get_text() for label in axes.get_xticklabels()] == ["lr", "reward"]
    assert heights == [pytest.approx((0.0, 0.0)), pytest.approx((0.5, 0.5)), pytest.approx((1, 1))]


def test_the_line_of_the_best_trial_is_the_darkest():
    figure = draw([{"lr": 1.0}, {"lr": 2.0}], [0.9, 0.5], "reward")
    worst, best = read_trials(figure.axes[0])

    assert best.get_ydata()[1] == 1.0
    assert float(best.get_color()) < float(worst.get_color())
    assert best.get_linewidth() > worst.get_linewidth()


def test_results_that_hardly_differ_are_drawn_close_together():
    """A difference of .0002 is a 250th of an axis of .05."""
    figure = draw([{"lr": 1.0}, {"lr": 2.0}], [0.9, 0.9002], "reward")
    worst, best = (line.get_ydata()[1] for line in read_trials(figure.axes[0]))

    assert best - worst == pytest.approx(1 / 250)
    assert (best + worst) / 2 == pytest.approx(0.5)


def test_many_values_have_five_ticks():
    settings = [{"noise": value} for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    figure = draw(settings, [1.0, 1.0, 1.0, 1.0, 1.0], "reward")

    assert [text.get_text() for text in figure.axes[0].texts] == [
        "0.1", "0.2", "0.3", "0.4", "0.5", "1",
    ]  # fmt: skip


def test_ticks_of_a_logarithmic_axis_are_equal_factors_apart():
    """Between 1 and 10,000 in fours: 1, 10, 100, 1,000 and 10,000."""
    settings = [{"size": value} for value in (1, 3, 70, 800, 10_000)]
    figure = draw(settings, [1.0] * 5, "reward")

    assert [text.get_text() for text in figure.axes[0].texts[:5]] == [
        "1", "10", "100", "1e+03", "1e+04",
    ]  # fmt: skip


def test_trials_are_named_and_their_names_do_not_overlap():
    """Three equal results: the names stand above one another."""
    settings = [{"lr": 1.0}, {"lr": 2.0}, {"lr": 3.0}]
    figure = draw(settings, [0.5, 0.5, 0.5], "reward", ("a", "b", "c"))
    names = [text for text in figure.axes[0].texts if text.get_text() in "abc"]
    heights = sorted(text.xyann[1] for text in names)

    assert len(names) == 3
    assert all(upper - lower > 0.03 for lower, upper in pairwise(heights))


def test_words_are_spread_in_alphabetical_order():
    figure = draw([{"message": "none"}, {"message": "all"}], [1.0, 2.0], "r")

    assert sorted(line.get_ydata()[0] for line in read_trials(figure.axes[0])) == [0.0, 1.0]
    assert [text.get_text() for text in figure.axes[0].texts[:2]] == ["all", "none"]
