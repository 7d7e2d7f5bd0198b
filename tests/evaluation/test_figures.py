"""What the figures of policies show."""

import numpy as np
import pandas as pd
import pytest

from slicing_rllib.evaluation.figures import (
    COLOURS,
    LOWEST_GAIN,
    choose_styles,
    draw_delay_cdf,
    draw_gain_over_distance,
    draw_gains,
    draw_rewards,
    draw_satisfaction_ccdf,
    draw_training,
    draw_warm_start,
)
from slicing_rllib.evaluation.looks import save
from slicing_rllib.evaluation.other_figures import draw_heat_map


def read_legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def make_table(**curves: dict[int, float | tuple[float, ...]]) -> pd.DataFrame:
    """By arm and step, a value per seed."""
    rows = [
        (seed, arm, step, value)
        for arm, points in curves.items()
        for step, values in points.items()
        for seed, value in enumerate(np.atleast_1d(values))
    ]
    return pd.DataFrame(rows, columns=["seed", "arm", "step", "value"])


def draw_run(learning=None, evaluated=None, levels=None, exploration_steps=0):
    return draw_training(
        make_table(**({"td3": evaluated} if evaluated else {})),
        levels or {},
        learning if learning is not None else make_table(td3={1: 0.5}),
        smoothing_steps=400,
        exploration_steps=exploration_steps,
        own="td3",
        changes={"a cell joins": [40], "warm start": []},
    )


def test_the_rewards_of_a_run_have_a_panel_per_traffic():
    """Above: evaluation and references on its traffic. Below: training and the same steps."""
    figure = draw_run(
        make_table(td3={100: 0.2, 200: 0.3, 300: 0.4}, equal={100: 0.1, 200: 0.2, 300: 0.2}),
        evaluated={200: 0.5, 300: 0.6},
        levels={"oracle": 0.9, "equal": 0.4},
        exploration_steps=150,
    )
    upper, lower = figure.axes
    evaluated, oracle, equal, joins = upper.lines
    learning, same, _ = lower.lines

    assert read_legend(upper) == ["this run: td3", "oracle", "equal", "a cell joins"]
    assert read_legend(lower) == ["this run: td3", "equal", "a cell joins"]
    assert "mean over 400 steps" in lower.get_title()
    assert learning.get_ydata() == pytest.approx([0.2, 0.3, 0.4])
    assert same.get_ydata() == pytest.approx([0.1, 0.2, 0.2])
    assert evaluated.get_xydata() == pytest.approx(np.array([[200, 0.5], [300, 0.6]]))
    assert (oracle.get_ydata()[0], oracle.get_linestyle()) == (0.9, "-")
    assert (equal.get_ydata()[0], equal.get_linestyle()) == (0.4, "--")
    assert joins.get_xdata() == [40, 40]
    assert [text.get_text() for text in lower.texts] == ["exploration"]


def test_the_reward_axis_begins_below_the_lowest_reward():
    """Rewards of .83 and more would be a flat line on an axis from 0."""
    upper, lower = draw_run(make_table(td3={1: 0.83, 2: 0.9}), {1: 0.95}).axes

    assert upper.get_ylim()[0] == pytest.approx(0.9)
    assert lower.get_ylim()[0] == pytest.approx(0.8)


def test_a_run_without_exploration_has_no_shaded_steps():
    figure = draw_run(evaluated={1: 0.5})

    assert all(not axes.texts and not axes.patches for axes in figure.axes)


def test_a_run_that_was_not_evaluated_while_it_trained_says_so():
    upper, _ = draw_run().axes

    assert [text.get_text() for text in upper.texts] == ["not evaluated while training"]


def test_the_satisfaction_curve_is_the_share_at_or_above_x():
    """Of .25, .5, .75 and 1, half are at least .625, the median."""
    (axes,) = draw_satisfaction_ccdf({"drl": np.array([1.0, 0.5, 0.25, 0.75])}).axes
    curve, threshold = axes.lines

    assert curve.get_xydata()[500] == pytest.approx([0.625, 0.5])
    assert (np.diff(np.asarray(curve.get_ydata())) <= 0).all()
    assert threshold.get_xdata() == pytest.approx([0.95, 0.95])


def test_the_delay_curve_is_the_share_at_or_below_x():
    """Of 1, 2, 4 and 8 times the promise, half are at most 3 times; the promise is marked."""
    (axes,) = draw_delay_cdf({"tl": np.array([8.0, 2.0, 1.0, 4.0])}, unit="SLA").axes

    assert axes.lines[0].get_xydata()[500] == pytest.approx([3.0, 0.5])
    assert axes.get_xscale() == "log"
    assert read_legend(axes) == ["tl, mean 3.75", "SLA"]
    assert list(axes.lines[1].get_xdata()) == [1.0, 1.0]


def test_the_papers_shares_are_marked():
    satisfied = {"drl": np.linspace(0, 1, 500)}
    (axes,) = draw_satisfaction_ccdf(satisfied, {"drl": "DRL"}, with_paper=True).axes
    texts = [text.get_text() for text in axes.texts]
    crosses = sorted(float(np.ravel(line.get_ydata())[0]) for line in axes.lines[1:4])

    assert texts == ["paper, baseline", "paper, DRL", "paper, TL"]
    assert crosses == pytest.approx([0.75, 0.81, 0.88])


def test_the_papers_averages_are_listed_only_on_request():
    delays = {"drl": np.linspace(0.1, 10, 500)}
    marked, plain = (draw_delay_cdf(delays, with_paper=each).axes[0] for each in (True, False))

    texts = [text.get_text() for text in marked.texts]
    assert texts == ["paper's averages: baseline 1.8, DRL 1.7, TL 1.5"]
    assert not plain.texts


def test_a_figure_is_saved_twice_and_the_svg_is_reproducible(tmp_path):
    paths = [
        save(draw_delay_cdf({"tl": np.array([1.0, 2.0])}), tmp_path / name, "delay")
        for name in ("a", "b")
    ]

    assert [path.name for path in paths[0]] == ["delay.png", "delay.svg"]
    assert paths[0][0].read_bytes().startswith(b"\x89PNG")
    assert paths[0][1].read_bytes() == paths[1][1].read_bytes()


@pytest.mark.parametrize(("first", "scale"), [(0, "symlog"), (50, "symlog"), (2000, "linear")])
def test_only_curves_that_begin_early_get_a_logarithmic_axis(first: int, scale: str):
    table = make_table(drl={first: 0.5, 8000: 0.5})

    assert draw_rewards(table, {"oracle": 0.9}, {}).axes[0].get_xscale() == scale


def test_a_curve_of_several_seeds_is_their_mean_with_its_interval():
    """Two seeds at .4 and .6: a mean of .5; Student's t with one degree of freedom has 12.706."""
    (axes,) = draw_rewards(make_table(drl={0: (0.4, 0.6)}), {}, {}).axes
    (band,) = axes.collections

    assert axes.lines[0].get_ydata() == pytest.approx([0.5])
    reach = 12.706 * 0.1
    assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(0.5 - reach, abs=1e-3)


def test_a_figure_of_gains_shows_what_is_near_the_baseline():
    near = {0: (0.01, 0.03), 50: (0.02, 0.04)}
    far = {0: (-1.5, 1.0), 50: (0.0, 0.02)}

    shown = draw_gains(make_table(near={0: 0.02, 50: 0.03}), {}).axes[0]
    cut = draw_gains(make_table(near=near, far=far), {}).axes[0]

    assert shown.get_ylim()[0] > 0.0 - 0.02
    assert cut.get_ylim()[0] == LOWEST_GAIN
    assert cut.get_ylim()[1] < 0.3
    assert "not shown" in cut.get_title(loc="left")


def test_baselines_without_a_colour_of_their_own_are_drawn():
    figure = draw_rewards(make_table(drl={0: 0.5}), {"new_baseline": 0.9}, {"drl": "DRL"})

    assert "new_baseline" in [str(line.get_label()) for line in figure.axes[0].lines]


def test_every_arm_has_its_own_colour():
    arms = ["drl", "tl", "oracle", "one", "two", "three", "four"]

    assert len({style["color"] for style in choose_styles(arms).values()}) == len(arms)


def test_no_two_of_eighteen_arms_share_colour_marker_and_line():
    table = make_table(**{f"arm {number}": {0: 0.5, 8: 0.5} for number in range(18)})
    lines = draw_rewards(table, {}, {}).axes[0].lines

    assert (
        len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}) == 18
    )


def test_the_oracles_share_a_colour_and_have_lines_of_their_own():
    oracles = ("oracle", "oracle_throughput", "oracle_delay")
    values = {name: np.linspace(0.1, 1.0, 50) for name in oracles}
    figures = [
        draw_delay_cdf(values),
        draw_satisfaction_ccdf(values),
        draw_rewards(make_table(drl={0: 0.5}), dict.fromkeys(oracles, 0.9), {"drl": "DRL"}),
    ]

    for figure in figures:
        lines = [
            line for line in figure.axes[0].lines if str(line.get_label()).startswith("oracle")
        ]
        assert {line.get_color() for line in lines} == {COLOURS["oracle"]}
        assert len({line.get_linestyle() for line in lines}) == 3


def test_every_step_has_a_panel_with_its_correlation():
    distance = np.arange(10.0)
    gains = {50: -distance, 4000: np.array([0.0, 1.0] * 5)}
    pairs = pd.concat(
        pd.DataFrame({"step": step, "distance": distance, "gain": gain})
        for step, gain in gains.items()
    )
    titles = [axes.get_title() for axes in draw_gain_over_distance(pairs, "mean_shift").axes]

    assert titles[0] == "50 steps, Spearman +1.00"
    assert titles[1].startswith("4000 steps, Spearman -0.1")


CELLS = ("cell_1", "cell_2", "cell_3")
DISTANCES = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 4.0], [5.0, 6.0, 0.0]])


def test_the_heat_map_orders_cells_by_sla_group():
    """cell_2 is of group b and moves behind cell_3, rows and columns alike."""
    figure = draw_heat_map(CELLS, DISTANCES, ("a", "b", "a"), {}, "kl_paper")
    axes = figure.axes[0]
    order = [0, 2, 1]

    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 a", "3 a", "2 b"]
    assert np.ma.getdata(axes.images[0].get_array()) == pytest.approx(
        DISTANCES[np.ix_(order, order)]
    )
    assert figure.axes[1].get_ylabel() == "kl_paper distance, logarithmic"


def test_distances_in_the_hundreds_are_whole_numbers():
    distances = np.array([[0.0, 0.0123, 9.87], [96.4, 0.0, 330.0], [9_999.0, 12_345.0, 0.0]])
    figure = draw_heat_map(CELLS, distances, ("a", "a", "a"), {}, "kl_paper")

    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["0", "0.012", "9.9", "96", "0", "330", "9999", "1.2e+04", "0"]


def test_the_colours_of_distances_are_logarithmic_and_a_cell_has_none_for_itself():
    """Of .01, 1 and 100, the middle one has the middle of the colours."""
    distances = np.array([[0.0, 0.01, 1.0], [1.0, 0.0, 1.0], [1.0, 100.0, 0.0]])
    image = draw_heat_map(CELLS, distances, ("a", "a", "a"), {}, "sla").axes[0].images[0]

    assert image.norm(1.0) == pytest.approx(0.5)
    assert np.ma.getmaskarray(image.get_array()).diagonal().all()


def test_the_chosen_source_is_framed():
    """Target cell_1 learned from cell_2, which stands in the third row."""
    figure = draw_heat_map(CELLS, DISTANCES, ("a", "b", "a"), {"cell_1": "cell_2"}, "sla")
    (frame,) = figure.axes[0].patches

    assert frame.get_xy() == (-0.5, 1.5)
    assert "frame" in figure.axes[0].get_title()


def test_a_large_heat_map_has_no_numbers():
    cells = tuple(f"cell_{k}" for k in range(1, 18))
    figure = draw_heat_map(cells, np.ones((17, 17)), ("a",) * 17, {}, "sla")

    assert not figure.axes[0].texts


def test_warm_start_curves_are_paired_with_a_rule_on_the_same_traffic():
    """The second seed is easier by .2 for everybody, which gives the first policy's band no width.

    The other policy gains only .1 there: its paired rewards are .4 and .3.
    """
    table = make_table(
        td3_transferred={50: (0.6, 0.8), 100: (0.7, 0.9)}, td3={50: (0.3, 0.4), 100: (0.3, 0.5)}
    )
    levels = {"smoothed_persistence": [0.7, 0.9], "equal": [0.5, 0.5]}
    (axes,) = draw_warm_start("cell_12", table, levels, "smoothed_persistence").axes
    transferred, scratch = axes.lines[:2]

    assert read_legend(axes) == ["td3_transferred", "td3", "smoothed_persistence", "equal"]
    assert transferred.get_xydata() == pytest.approx(np.array([[50, 0.7], [100, 0.8]]))
    assert scratch.get_ydata() == pytest.approx([0.35, 0.4])
    assert axes.lines[2].get_ydata()[0] == pytest.approx(0.8)
    heights = [np.ptp(each.get_paths()[0].vertices[:, 1]) for each in axes.collections]
    assert max(heights) > 0.1
    assert axes.get_xlabel() == "own steps of cell_12"
    assert "2 seeds of traffic" in axes.get_title()
