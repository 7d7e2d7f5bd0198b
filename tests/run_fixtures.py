"""Fixtures: a small run that takes seconds, and the command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train

SMALL = {
    "name": "small",
    "base": "paper",
    "learning": {"exploration_steps": 50, "training_steps": 100, "steps_per_iteration": 25},
    "evaluation": {
        "policies": ["td3", "equal", "oracle"],
        "steps": 5,
        "seeds": 2,
        "every_steps": 50,
    },
    "checkpoint": {"every_steps": 50},
}


@pytest.fixture(scope="session")
def small_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="session")
def small(small_yaml: Path) -> RunConfig:
    return load_config(str(small_yaml))


@pytest.fixture(scope="session")
def finished(
    ray_session: None, small: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> RunDirectory:
    """A finished run that was never interrupted: one for all test workers, which only read it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    run = RunDirectory(folder / "finished")
    with FileLock(folder / "finished.lock"):
        if not run.path.exists():
            run = RunDirectory.create(run.path, small)
            train(small, run, ProgressListener())
    return run


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls `slicing-rllib ARGUMENTS` in an empty folder."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slicing_rllib", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return call
