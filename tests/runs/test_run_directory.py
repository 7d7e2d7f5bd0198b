"""The files of a run: written once, readable after a crash."""

from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import ConfigError, RunError


def test_a_run_is_never_overwritten(small: RunConfig, tmp_path: Path):
    RunDirectory.create(tmp_path / "run", small)

    with pytest.raises(RunError, match="there already is a run"):
        RunDirectory.create(tmp_path / "run", small)


def test_a_row_that_a_crash_cut_short_is_left_out(small: RunConfig, tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", small)
    run.append_metrics({"env_steps": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 2, "rew')

    assert run.metrics() == [{"env_steps": 1}]


def test_rows_of_later_steps_are_dropped_on_resume(small: RunConfig, tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", small)
    for steps in (10, 20, 30):
        run.append_metrics({"env_steps": steps})

    run.drop_metrics_after(20)

    assert [row["env_steps"] for row in run.metrics()] == [10, 20]


def test_policies_are_read_as_they_were_written(small: RunConfig, tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", small)
    weights = {"cell_1": {"actor.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    weights["cell_1"]["actor.0.bias"] = np.ones(2, np.float32)
    run.write_policies(weights)

    read = run.policies()["cell_1"]
    assert read.keys() == weights["cell_1"].keys()
    assert all(np.array_equal(read[name], array) for name, array in weights["cell_1"].items())


def test_resuming_with_another_config_is_refused(small: RunConfig, tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", small)

    assert run.load_same_config(None, []) == small
    with pytest.raises(ConfigError, match="another config"):
        run.load_same_config(None, ["seed=5"])


@pytest.mark.parametrize("ask", ["policies", "summary"])
def test_a_missing_file_is_reported_as_a_run_error(small: RunConfig, tmp_path: Path, ask: str):
    run = RunDirectory.create(tmp_path / "run", small)

    with pytest.raises(RunError, match="expected"):
        getattr(run, ask)()


def test_rows_of_logs_without_what_all_rows_have_are_left_out(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{}\n{"env_steps": 1, "reward_mean": 0.5}\n')
    (tmp_path / "events.jsonl").write_text('{}\n{"env_step": 1, "kind": "started"}\n')
    run = RunDirectory(tmp_path)

    run.drop_metrics_after(5)
    assert run.metrics() == [{"env_steps": 1, "reward_mean": 0.5}]
    assert run.events() == [{"env_step": 1, "kind": "started"}]


def test_a_layer_without_its_bias_is_refused(tmp_path: Path):
    run = RunDirectory(tmp_path)
    run.write_policies({"cell_1": {"actor.0.weight": np.ones((2, 2), np.float32)}})

    with pytest.raises(RunError, match=r"cell_1/actor\.0 has weights and no bias"):
        run.policies()
