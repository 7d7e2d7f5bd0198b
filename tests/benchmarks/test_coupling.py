"""Cells are coupled through their actions under contiguous placement, and only under it."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.benchmarks import coupling
from slicing_rllib.benchmarks.coupling import CHANGES, PLACEMENTS, disturbances, placed, rows
from slicing_rllib.evaluation.figures import coupling as drawn
from slicing_rllib.evaluation.figures import save
from slicing_rllib.radio import built_in


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(coupling, "STEPS", 40)


def calm():
    """The paper's network with a third of its traffic, so that no slice is overloaded."""
    paper = built_in("paper")
    slices = tuple(
        replace(spec, traffic=replace(spec.traffic, rate_kbps=spec.traffic.rate_kbps / 3))
        for spec in paper.slices
    )
    return replace(paper, slices=slices)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("changed", CHANGES.values())
def test_coupling_through_actions_is_real_where_slices_lie_side_by_side(changed):
    """A neighbour's split changes a cell's throughput by per cents at the paper's traffic."""
    paper = placed(built_in("paper"), "contiguous")
    found = disturbances(paper, 0, changed, np.random.default_rng(0))
    assert found.own.throughput > found.neighbours.throughput > found.one_cell.throughput
    assert found.neighbours.throughput > 0.01
    assert found.neighbours.reward > 0.005


@pytest.mark.usefixtures("short")
def test_without_overload_random_placement_hides_every_action_from_the_neighbours():
    """A stable slice's PRBs in use are set by its traffic; where they lie is what carries it."""
    found = {
        placement: disturbances(placed(calm(), placement), 0, 0.1, np.random.default_rng(0))
        for placement in PLACEMENTS
    }
    assert found["random"].one_cell.throughput < 1e-6
    assert found["random"].neighbours.throughput < 1e-6
    assert found["contiguous"].neighbours.throughput > 1e-3
    assert found["random"].own.throughput > 0.01


def test_every_row_has_an_interval_over_seeds_and_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(coupling, "STEPS", 11)
    monkeypatch.setattr(coupling, "TRAINING_SEEDS", (2000,))
    monkeypatch.setattr(coupling, "PLACEMENTS", ("contiguous",))
    found = list(rows(scenarios=("paper",), seeds=2))
    names = [row["name"] for row in found]
    assert len(set(names)) == len(names) == 2 * 6 + 5
    assert all(row["low"] <= row["value"] <= row["high"] for row in found)
    assert "coupling.paper.contiguous.message.mean_load" in names
    paths = save(drawn(found), tmp_path, "coupling")
    assert [path.suffix for path in paths] == [".png", ".svg"]


def make_constant():
    """`calm` without movement, a constant mask, and an SLA that not every cell can meet.

    Under random placement nothing then changes from step to step, whatever the splits are.
    """
    scenario = placed(calm(), "random")
    return replace(
        scenario,
        mask=replace(scenario.mask, low=0.5, high=0.5, ripple=0.0),
        mobility=replace(scenario.mobility, min_speed_kmh=0.0, max_speed_kmh=0.0),
        sla_groups=tuple(
            replace(
                group,
                slices=tuple(
                    replace(sla, throughput_mbps=6 * sla.throughput_mbps, delay_ms=sla.delay_ms / 6)
                    for sla in group.slices
                ),
            )
            for group in scenario.sla_groups
        ),
    )


@pytest.mark.usefixtures("short")
def test_in_a_network_without_changes_a_forecast_equals_persistence():
    """The tolerance is far below the worth of a message (0.003) and below the unmet reward."""
    worth = coupling.message_worth(
        make_constant(), (0, 1), training_seeds=(1,), messages=("mean_load",)
    )
    assert (worth["persistence"] < 0.97).all()
    assert worth["none"] == pytest.approx(worth["persistence"], abs=1e-4)
    assert worth["mean_load"] == pytest.approx(worth["none"], abs=1e-4)


@pytest.mark.usefixtures("short")
def test_a_message_is_worth_reward_only_under_contiguous_placement():
    """Under random placement, the neighbours' load does not depend on their splits."""
    for placement, low, high in (("contiguous", 1e-3, 1e-2), ("random", -2e-4, 2e-4)):
        worth = coupling.message_worth(
            placed(built_in("paper"), placement),
            (0, 1),
            training_seeds=(1, 2, 3),
            messages=("mean_load", "foreseen"),
        )
        for message in ("mean_load", "foreseen"):
            gain = worth[message] - worth["none"]
            assert ((low < gain) & (gain < high)).all()
