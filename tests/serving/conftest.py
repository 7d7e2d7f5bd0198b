"""A run with random policies, and a library with two versions of them."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from random_policies import WITH_MESSAGES, add_version

from slicing_rllib.benchmarks.serving import draw_weights
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.policy_evaluation import record_kpis
from slicing_rllib.runs.run_directory import RunDirectory

AddVersion = Callable[[Path, int], None]


@pytest.fixture(scope="session")
def served_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run directory of `quick` in the paper's form, with random policies."""
    config = load_config("quick", WITH_MESSAGES)
    run = RunDirectory.create(tmp_path_factory.mktemp("served") / "run", config)
    run.write_policies(draw_weights(config, 0))
    return run


@pytest.fixture(scope="session")
def add_random_version(served_run: RunDirectory) -> AddVersion:
    """Adds random policies to a library: those of the run for seed 0."""
    config = served_run.config()
    recorded = record_kpis(config, served_run.policies(), 40)

    def add(folder: Path, seed: int) -> None:
        add_version(folder, config, recorded, seed)

    return add


@pytest.fixture(scope="session")
def application_module() -> Any:
    """The service's module; the hook that checks types cannot wrap a deployment."""
    with pytest.MonkeyPatch.context() as patched:
        finders = [f for f in sys.meta_path if not type(f).__module__.startswith("jaxtyping")]
        patched.setattr(sys, "meta_path", finders)
        return importlib.import_module("slicing_rllib.serving.application")


@pytest.fixture
def library(tmp_path: Path, add_random_version: AddVersion) -> Path:
    """Two versions of twelve policies; version 1 is that of the run."""
    folder = tmp_path / "library"
    for seed in (0, 1):
        add_random_version(folder, seed)
    return folder
