"""Sweeps: their search spaces, results, and resuming after a kill."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from slicing_rllib.cli.main import run
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.studies import sweep as sweeps
from slicing_rllib.studies.study_configs import SweepConfig

SWEEPS = SweepConfig.FOLDER
SWEEP = {
    "name": "tiny",
    "base": "quick",
    "set": [
        "learning.exploration_steps=40", "learning.training_steps=80",
        "learning.steps_per_iteration=20", "evaluation.steps=5", "evaluation.seeds=1",
        'env.deployments=[{"cell": "cell_12", "off_until": 20, "default_action_until": 40}]',
    ],
    "search_space": {
        "learning.actor_lr": {"dist": "uniform", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "num_samples": 8,
    "scheduler": "asha",
    "report_every_steps": 40,
}  # fmt: skip


def write_sweep(folder: Path, **changes: object) -> Path:
    path = folder / "sweep_file.yaml"
    path.write_text(yaml.safe_dump(SWEEP | changes))
    return path


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_checkout_are_valid(path: Path):
    assert SweepConfig.load(path.stem).name == path.stem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedular": "asha"}, "unknown key schedular, did you mean scheduler?"),
        ({"search_space": {"learning.actr_lr": {"dist": "grid", "values": [1]}}},
         "unknown key learning.actr_lr, did you mean actor_lr?"),
        ({"search_space": {"learning.gamma": {"dist": "uniform", "low": 0.5, "high": 1.5}}},
         "learning.gamma=1.5"),
        ({"search_space": {"seed": {"dist": "uniform", "low": 3, "high": 1}}}, "low < high"),
        ({"search_space": {}}, "search_space"),
        ({"metric": "reward"}, "metric: Input should be"),
        ({"set": ["env.deployments=[]"], "metric": "target_reward_mean"}, "cells that come up"),
        ({"base": "nowhere"}, "nowhere"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line(changes: dict, message: str, tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        SweepConfig.load(str(write_sweep(tmp_path, **changes)))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_holds_a_cpu_for_each_of_its_env_runners(tmp_path: Path):
    """Without these CPUs, Ray would never start the env runners."""
    sweep = SweepConfig.load(str(write_sweep(tmp_path, set=[*SWEEP["set"], "num_env_runners=2"])))

    assert sweep.trial_cpus == [1, 1, 1]


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="sweep 'learn': expected a YAML file or one of explor"):
        SweepConfig.load("learn")


def test_every_value_of_a_grid_is_tried_once(ray_session, tmp_path: Path, capsys):
    grid = {"learning.actor_lr": {"dist": "grid", "values": [1e-3, 1e-4]}}
    path = write_sweep(tmp_path, search_space=grid, num_samples=1, scheduler="none")
    folder = tmp_path / "out"

    assert run(["sweep", str(path), "--out", str(folder), "--json"]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["settings"]["learning.actor_lr"] for row in rows) == [1e-4, 1e-3]
    assert [row["env_steps"] for row in rows] == [120, 120]
    assert rows[0]["value"] >= rows[1]["value"]
    assert (folder / "figures" / "parallel_coordinates.png").is_file()
    assert run(["sweep", str(path), "--out", str(folder)]) == 1
    assert "already is a sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_resumes_after_its_trial_and_its_driver_were_killed(tmp_path: Path, capsys):
    """Of eight trials one is killed with SIGKILL, then the driver: each has one row in the end."""
    folder = tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "sweep", str(write_sweep(tmp_path)),
         "--out", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _wait_for_trials(driver)[0].kill()
    deadline = time.monotonic() + 90
    while not _has_reported(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    # The processes that Ray started for the driver, by their process ids.
    for process in family:
        if process.is_running():
            process.kill()

    assert run(["sweep", "--resume", "--out", str(folder), "--json"]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert len({row["trial_id"] for row in rows}) == len(rows) == 8
    assert all(row["error"] is None for row in rows)
    assert all(row["env_steps"] in (40, 80, 120) for row in rows)
    assert max(row["env_steps"] for row in rows) == 120


def _wait_for_trials(driver: subprocess.Popen) -> list[psutil.Process]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        children = psutil.Process(driver.pid).children(recursive=True)
        trials = [child for child in children if "Trial" in _read_command_line(child)]
        if trials:
            return trials
        time.sleep(0.1)
    raise AssertionError("no trial began within 90 s")


def _read_command_line(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline())
    except psutil.Error:
        return ""


def _has_reported(folder: Path) -> bool:
    """Whether some trial has written its first report."""
    return any(path.stat().st_size for path in folder.glob("trials/*/result.json"))


@pytest.mark.parametrize(("scheduler", "kept"), [("pbt", None), ("asha", 2), ("none", 2)])
def test_a_population_keeps_all_checkpoints_until_it_ends(
    scheduler: str, kept: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked
):
    """A trial may copy another one's checkpoint long after that has written its next ones.

    With two checkpoints per trial, Tune ended a trial with "Could not recover from checkpoint as it
    does not exist on storage anymore".
    """
    monkeypatch.setattr(sweeps, "_make_trainable", lambda sweep: None)
    monkeypatch.setattr(sweeps, "Tuner", lambda trainable, **settings: settings)
    sweep = SweepConfig.load(str(write_sweep(tmp_path, scheduler=scheduler)))

    settings = sweeps._make_tuner(sweep, tmp_path, print)

    assert settings["run_config"].checkpoint_config.num_to_keep == kept


def test_the_newest_checkpoints_of_a_population_are_left(tmp_path: Path):
    for number in range(4):
        (tmp_path / "trial" / f"checkpoint_{number:06d}").mkdir(parents=True)
    (tmp_path / "tuner.pkl").touch()

    sweeps._remove_older_checkpoints(tmp_path)

    left = sorted(path.name for path in (tmp_path / "trial").iterdir())
    assert left == ["checkpoint_000002", "checkpoint_000003"]


def make_rows(**values: float) -> list[dict]:
    return [
        {"settings": {"learning.tau": float(tau[1:]) / 10, "seed": seed}, "value": value + seed}
        for tau, value in values.items()
        for seed in (1, 2)
    ]


def test_trials_that_differ_in_their_seed_are_one_row_with_their_range():
    """Seeds 1 and 2 give 1.5 and 2.5: mean 2, and no interval of two values."""
    groups = sweeps.group_by_settings(make_rows(t1=0.5, t2=3.0), "max")

    assert list(groups.columns) == ["learning.tau", "seeds", "mean", "low", "high"]
    assert groups.to_numpy().tolist() == [[0.2, 2, 4.5, 4.0, 5.0], [0.1, 2, 2.0, 1.5, 2.5]]


def test_settings_without_effect_are_named(tmp_path: Path):
    """The actor of `quick` climbs the counterfactual reward and never reads its critics."""
    space = {"learning.critic_lr": {"dist": "grid", "values": [0.001, 0.01]}}
    sweep = SweepConfig.load(str(write_sweep(tmp_path, search_space=space)))

    assert [key for key, _ in sweep.list_without_effect()] == ["learning.critic_lr"]


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_checkout_search_what_has_an_effect(path: Path):
    assert SweepConfig.load(path.stem).list_without_effect() == []
