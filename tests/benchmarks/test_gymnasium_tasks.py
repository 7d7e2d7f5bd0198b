"""The comparison on Gymnasium's tasks: same episodes for every policy, and what rows say."""

import json

import numpy as np
import pytest

from slicing_rllib.benchmarks.gymnasium_tasks import _make_return_rows, evaluate
from slicing_rllib.benchmarks.learning_peers.gymnasium_td3 import Task
from slicing_rllib.cli import bench_commands as training
from slicing_rllib.cli.bench_commands import print_rows
from slicing_rllib.storage.errors import RunError


def test_every_policy_is_evaluated_in_the_same_episodes():
    """A policy without torque gets the same return twice, one with full torque another."""
    still, again, full = (
        evaluate("Pendulum-v1", lambda obs, torque=torque: np.array([torque], np.float32))
        for torque in (0.0, 0.0, 2.0)
    )

    assert still == again != full


def test_the_difference_of_returns_is_paired_by_seed():
    """Returns of -200 and -100 against -210 and -110: the difference is 10 for every seed."""
    returns = {"own": [-200.0, -100.0], "sb3_td3": [-210.0, -110.0]}
    rows = {row["name"]: row for row in _make_return_rows("T", Task(1000, 0.1), returns)}

    assert rows["gymnasium.T.return"]["value"] == -150
    assert rows["gymnasium.T.return_sb3_td3"]["value"] == -160
    difference = rows["gymnasium.T.return_difference"]
    assert [difference[key] for key in ("value", "low", "high")] == [10, 10, 10]
    assert difference["seeds"] == 2


def test_json_lines_have_null_instead_of_nan(capsys):
    rows = _make_return_rows("T", Task(1000, 0.1), {"own": [1.0], "sb3_td3": [2.0]})
    print_rows(rows, json=True)
    lines = [
        json.loads(line, parse_constant=pytest.fail)
        for line in capsys.readouterr().out.split("\n")[:-1]
    ]

    assert [line["low"] for line in lines] == [None] * 3
    assert lines[2]["value"] == -1.0


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)

    with pytest.raises(RunError, match="bench gymnasium: expected the package stable-baselines3"):
        training.gymnasium_tasks()
