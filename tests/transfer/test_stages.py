"""Stages of a cell and their plain form in a checkpoint."""

import json

import pytest

from slicing_rllib.transfer.guard import GuardWindow
from slicing_rllib.transfer.stages import (
    PLAIN,
    Collecting,
    CoolingDown,
    Guarded,
    Probing,
    Settled,
    StageRecords,
    WarmStartPlan,
)

PLAN = WarmStartPlan(ranking=("cell_2",), distances={"cell_1": 0.5, "cell_2": 0.7}, attempts=1)
GUARDED = Guarded(
    source="cell_1",
    plan=PLAN,
    window=GuardWindow(log_wealth=(0.1, 0.2, 0.3, 0.4, 0.5), steps=40, lost_reward=2.0),
)
STAGES = [
    Collecting(until=160),
    Probing(until=160, trying="cell_2", queue=("cell_3",), returns={"cell_1": 0.8}),
    GUARDED,
    CoolingDown(until=210, plan=PLAN),
    Settled(source=None),
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_survives_the_way_through_plain_values(stage):
    """JSON accepts plain values only."""
    plain = PLAIN.dump_python(stage, mode="json")

    assert type(plain["stage"]) is str
    assert PLAIN.validate_python(json.loads(json.dumps(plain))) == stage


def test_a_cell_is_settled_without_a_record_or_after_its_warm_start():
    records = StageRecords({})
    for cell, stage in zip("abcde", STAGES, strict=True):
        records.write(cell, stage)

    assert records.list_unsettled() == ["a", "b", "c", "d"]
    assert records.is_settled("e")
    assert records.is_settled("unknown")
    assert not records.is_settled("a")


def test_records_are_kept_in_the_given_state():
    state = {}
    StageRecords(state).write("cell_1", Collecting(until=3))

    assert state == {"transfer": {"cell_1": {"stage": "collecting", "until": 3}}}
    assert StageRecords(state).read("cell_1") == Collecting(until=3)


def test_the_mean_loss_is_per_guarded_step():
    """2.0 over 40 steps; 0 before the first step."""
    assert GUARDED.window.mean_loss == pytest.approx(0.05)
    assert GuardWindow().mean_loss == 0.0
