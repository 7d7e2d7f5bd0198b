"""What the figures of transfer show."""

import numpy as np
import pytest

from slicing_rllib.evaluation.figures import draw_heat_map, draw_warm_start_curves

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


def test_warm_start_curves_show_both_policies_and_the_default_action():
    figure = draw_warm_start_curves(
        "cell_12",
        {"tl": ([150, 200], [0.8, 0.9]), "drl": ([150, 200], [0.3, 0.4])},
        joined_at=100,
        controlled_from=150,
    )
    (axes,) = figure.axes

    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "transferred",
        "from scratch",
    ]
    assert axes.lines[1].get_xydata() == pytest.approx(np.array([[150, 0.3], [200, 0.4]]))
    assert axes.get_ylabel() == "evaluated reward of cell_12"
    assert axes.texts[0].get_position() == (125, 0.02)
    assert axes.get_ylim()[0] == pytest.approx(0.2)
    assert len(axes.texts) == 1


def test_a_dip_of_the_transferred_policy_is_noted():
    """From .8 down to .7 and up to .9: a dip of .1."""
    curves = {"tl": ([150, 200, 250], [0.8, 0.7, 0.9])}
    (axes,) = draw_warm_start_curves("cell_12", curves, 100, 150).axes

    assert axes.texts[1].get_text().startswith("dip of 0.10")
    assert axes.texts[1].xy == (200, 0.7)
