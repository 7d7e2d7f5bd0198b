"""What the figure of a sweep shows."""

import pytest

from slicing_rllib.evaluation.sweep_figures import draw_parallel_coordinates


def test_every_trial_is_a_line_from_its_settings_to_its_result():
    """Learning rates span two decades, so 1e-3 lies halfway; .7 of .5 to .9 as well."""
    figure = draw_parallel_coordinates(
        [{"lr": 1e-4}, {"lr": 1e-3}, {"lr": 1e-2}], [0.5, 0.7, 0.9], "reward"
    )
    (axes,) = figure.axes
    heights = sorted(tuple(line.get_ydata()) for line in axes.lines)

    assert [label.get_text() for label in axes.get_xticklabels()] == ["lr", "reward"]
    assert heights == [pytest.approx((0.0, 0.0)), pytest.approx((0.5, 0.5)), pytest.approx((1, 1))]


def test_the_line_of_the_best_trial_is_the_darkest():
    figure = draw_parallel_coordinates([{"lr": 1.0}, {"lr": 2.0}], [0.9, 0.5], "reward")
    worst, best = figure.axes[0].lines

    assert best.get_ydata()[1] == 1.0
    assert float(best.get_color()) < float(worst.get_color())
    assert best.get_linewidth() > worst.get_linewidth()


def test_only_the_ends_of_many_values_are_written_out():
    settings = [{"noise": value} for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    figure = draw_parallel_coordinates(settings, [1.0, 1.0, 1.0, 1.0, 1.0], "reward")

    assert [text.get_text() for text in figure.axes[0].texts] == ["0.1", "0.5", "1"]


def test_words_are_spread_in_alphabetical_order():
    figure = draw_parallel_coordinates([{"message": "none"}, {"message": "all"}], [1.0, 2.0], "r")

    assert sorted(line.get_ydata()[0] for line in figure.axes[0].lines) == [0.0, 1.0]
    assert [text.get_text() for text in figure.axes[0].texts[:2]] == ["all", "none"]
