"""A run from config to summary: finished, interrupted, killed, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from slicing_rllib.evaluation.statistics import METRICS
from slicing_rllib.learning import TD3, EnvironmentFailed
from slicing_rllib.learning.workers import WorkerHealth
from slicing_rllib.policies.events import Event, EventKind
from slicing_rllib.radio import Simulator, StepKpis
from slicing_rllib.runs import training
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train
from slicing_rllib.storage.errors import Interrupted, RunError

pytestmark = pytest.mark.usefixtures("unchecked")


class StopAt(ProgressListener):
    """Sends this process a signal after the iteration that ends at a step."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self._step, self._number = step, number

    def on_iteration(self, row: dict, total_steps: int) -> None:
        if row["env_steps"] == self._step:
            os.kill(os.getpid(), self._number)


def read_numbers(run: RunDirectory) -> dict:
    """A summary without its times."""
    timed = ("seconds", "seconds_by_part")
    return {key: value for key, value in run.summary().items() if key not in timed}


def test_a_finished_run_has_all_its_files(finished: RunDirectory, small: RunConfig):
    names = {path.name for path in finished.path.iterdir()}
    summary = finished.summary()

    assert names == {
        "config.yaml", "metrics.jsonl", "events.jsonl", "checkpoints", "policies.safetensors",
        "experience.safetensors", "evaluation.npz", "summary.json", "figures",
    }  # fmt: skip
    assert set(summary["policies"]) == set(small.evaluated_policies)
    assert {*METRICS, "oracle_gap_closed", "ci95"} <= set(summary["policies"]["td3"])
    assert (summary["env_steps"], summary["seed"]) == (150, 0)
    # An update per step after exploration, and one at the step that ends it.
    assert summary["updates"] == 101
    assert finished.config() == small
    assert {path.suffix for path in finished.figures.iterdir()} == {".png", ".svg"}


def test_rows_have_every_cell_and_the_references(finished: RunDirectory):
    rows = finished.metrics()

    assert [row["env_steps"] for row in rows] == [25, 50, 75, 100, 125, 150]
    assert [("evaluation_reward_mean" in row) for row in rows] == [False, True] * 3
    known = {"equal", "traffic_aware", "smoothed_persistence", "oracle"}
    assert set(rows[-1]["references"]) == known
    assert list(rows[-1]["cells"]) == [f"cell_{k}" for k in range(1, 13)]
    assert {"reward", "critic_loss", "satisfaction", "phase", "replay_size", "prb_ratio"} <= set(
        rows[-1]["cells"]["cell_1"]
    )


def cut_short(checkpoint: Path) -> None:
    """Truncates a file of it, as a crash of the host does."""
    victim = checkpoint / "algorithm_state.pkl"
    victim.write_bytes(victim.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("step", "number", "passed_over"),
    [(25, signal.SIGINT, []), (75, signal.SIGTERM, ["checkpoint_passed_over"])],
)
def test_a_stopped_and_resumed_run_equals_one_that_was_never_stopped(
    finished: RunDirectory,
    small: RunConfig,
    tmp_path: Path,
    step: int,
    number: signal.Signals,
    passed_over: list[str],
):
    """Bit for bit, during exploration and after it; there from the newest valid checkpoint."""
    run = RunDirectory.create(tmp_path / "run", small)
    with pytest.raises(Interrupted):
        train(small, run, StopAt(step, number), draw_figures=False)
    if passed_over:
        cut_short(run.checkpoints / f"step_{step:09d}")

    train(small, run, ProgressListener(), resume=True, draw_figures=False)

    assert read_numbers(run) == read_numbers(finished)
    assert [row["reward_mean"] for row in run.metrics()] == [
        row["reward_mean"] for row in finished.metrics()
    ]
    assert [event["kind"] for event in run.events()] == [
        "started", "interrupted", *passed_over, "resumed", "finished",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_continues_from_the_newest_valid_checkpoint(
    finished: RunDirectory, small: RunConfig, small_yaml: Path, tmp_path: Path
):
    """It is killed with SIGKILL, and its newest checkpoint is truncated."""
    run_path = tmp_path / "run"
    arguments = ["train", str(small_yaml), "--out", str(run_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    newest = run_path / "checkpoints" / "step_000000100"
    deadline = time.monotonic() + 100
    while not newest.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    cut_short(newest)
    run = RunDirectory.open(run_path)

    train(small, run, ProgressListener(), resume=True, draw_figures=False)

    assert read_numbers(run) == read_numbers(finished)
    kinds = [event["kind"] for event in run.events()]
    assert "checkpoint_passed_over" in kinds
    assert "resumed" in kinds


class KillWorkerAt(ProgressListener):
    """Kills the env runner after the iteration that ends at a step."""

    def __init__(self, step: int) -> None:
        self._step, self.killed = step, 0

    def on_iteration(self, row: dict, total_steps: int) -> None:
        if row["env_steps"] == self._step and not self.killed:
            for process in psutil.Process().children(recursive=True):
                if "BatchedEnvRunner" in " ".join(process.cmdline()):
                    process.kill()
                    self.killed += 1


@pytest.mark.slow
def test_a_run_waits_until_ray_has_restarted_its_only_env_runner(small: RunConfig, tmp_path: Path):
    """Ray restarts it within seconds; until then iterations make no step."""
    config = small.model_copy(update={"num_env_runners": 1})
    run = RunDirectory.create(tmp_path / "run", config)
    listener = KillWorkerAt(step=75)

    summary = train(config, run, listener, draw_figures=False)

    kinds = [event["kind"] for event in run.events()]
    assert listener.killed == 1
    assert summary["env_steps"] >= config.total_steps
    assert (kinds.count("worker_lost"), kinds.count("worker_restarted")) == (1, 1)
    assert kinds.count("stalled") == 1
    assert run.metrics()[-1]["cells"]["cell_1"]["satisfaction"] >= 0


def collect_without_counting(algorithm, steps, stats):
    """In place of learning: the steps are seen, and count as none."""
    for step in steps:
        stats.add_step(step)


def test_three_iterations_without_a_step_end_the_run(small: RunConfig, tmp_path: Path, monkeypatch):
    """This happens when all env runners are lost for longer than a run waits."""
    monkeypatch.setattr(training, "WORKER_RESTART_TIMEOUT_S", 0.0)
    monkeypatch.setattr(WorkerHealth, "lost", True)
    run = RunDirectory.create(tmp_path / "run", small)
    monkeypatch.setattr(TD3, "_learn_from", collect_without_counting)

    with pytest.raises(RunError, match="without a step"):
        train(small, run, ProgressListener(), draw_figures=False)

    assert [event["kind"] for event in run.events()].count("stalled") == 3


def test_a_run_ends_when_env_runners_answer_but_make_no_step(
    small: RunConfig, tmp_path: Path, monkeypatch
):
    """They are lost for five iterations, which the run waits for, and useless in the sixth."""
    iterations = iter(range(5))
    monkeypatch.setattr(training, "WORKER_POLL_S", 0.0)
    monkeypatch.setattr(TD3, "_learn_from", collect_without_counting)
    monkeypatch.setattr(
        WorkerHealth, "lost", property(lambda self: next(iterations, None) is not None)
    )
    run = RunDirectory.create(tmp_path / "run", small)

    with pytest.raises(RunError, match="6 iterations without a step"):
        train(small, run, ProgressListener(), draw_figures=False)


def test_kpis_that_are_not_finite_end_a_run_with_an_event(
    small: RunConfig, tmp_path: Path, monkeypatch
):
    """Also where the own policy, which sees them, chooses an action that the simulator refuses."""
    whole, step = iter(range(40)), Simulator.step

    def break_later(self: Simulator, *arguments) -> StepKpis:
        kpis = step(self, *arguments)
        nan = {name: np.full(np.shape(column), np.nan) for name, column in kpis._asdict().items()}
        return kpis if next(whole, None) is not None else kpis._replace(**nan)

    monkeypatch.setattr(Simulator, "step", break_later)
    learning = small.learning.model_copy(update={"exploration_steps": 0})
    config = small.model_copy(update={"learning": learning})
    run = RunDirectory.create(tmp_path / "run", config)

    with pytest.raises(RunError) as raised:
        train(config, run, ProgressListener(), draw_figures=False)

    last = run.events()[-1]
    assert last["kind"] == "not_finite"
    assert last["message"] in str(raised.value)


def test_what_is_reported_before_an_environment_ends_the_run_is_in_its_log(
    small: RunConfig, tmp_path: Path, monkeypatch
):
    def fail(self: TD3):
        self.report(Event(EventKind.ENVIRONMENT_FAILED, "a wire came loose"))
        raise EnvironmentFailed("a wire came loose")

    monkeypatch.setattr(TD3, "train", fail)
    run = RunDirectory.create(tmp_path / "run", small)

    with pytest.raises(RunError, match="a wire came loose"):
        train(small, run, ProgressListener(), draw_figures=False)

    assert run.events()[-1]["kind"] == "environment_failed"


def test_the_summary_is_strict_json(finished: RunDirectory):
    text = (finished.path / "summary.json").read_text()

    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
