"""A run with random policies, and a library with two versions of them."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.policies import describe_policy
from slicing_rllib.service.config import RunConfig, load_config
from slicing_rllib.service.runs.cell_policies import make_cell_policies, record_kpis
from slicing_rllib.service.runs.evaluation import make_network
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import Bundle, PolicyLibrary

Weights = Mapping[str, Mapping[str, np.ndarray]]
PAPER = ["learning.actor=mlp", "learning.base_policy=none", "learning.initial_actor=random",
         "env.observation=paper", "learning.actor_gradient=critic"]  # fmt: skip
"""Settings of `quick` with the paper's observation, which reads messages of neighbours."""


def make_weights(config: RunConfig, seed: int) -> Weights:
    """Random actors with small corrections, so that shares stay sensible."""
    rng = np.random.default_rng(seed)
    widths = config.actor_form.compute_widths(make_network(config).obs_size, (8,))
    shapes = {
        f"actor.{2 * n}.{part}": (b, a) if part == "weight" else (b,)
        for n, (a, b) in enumerate(itertools.pairwise(widths))
        for part in ("weight", "bias")
    }
    return {
        cell: {n: rng.normal(0, 0.2, shape).astype(np.float32) for n, shape in shapes.items()}
        for cell in config.scenario.cells
    }


@pytest.fixture(scope="session")
def served_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run directory of `quick` in the paper's form, with random policies."""
    config = load_config("quick", PAPER)
    run = RunDirectory.create(tmp_path_factory.mktemp("served") / "run", config)
    run.write_policies(make_weights(config, 0))
    return run


@pytest.fixture(scope="session")
def add_version(served_run: RunDirectory) -> Callable[[Path, int], None]:
    """Adds random policies to a library: those of the run for seed 0."""
    config = served_run.config()
    recorded = record_kpis(config, served_run.policies(), 40)

    def add(folder: Path, seed: int) -> None:
        library, weights = PolicyLibrary(str(folder)), make_weights(config, seed)
        policies = make_cell_policies(config, weights, recorded)
        for cell, policy in policies.items():
            library.add(policy.name, make_bundle(policy, weights[cell]))

    return add


@pytest.fixture
def library(tmp_path: Path, add_version) -> Path:
    """Two versions of twelve policies; version 1 is that of the run."""
    folder = tmp_path / "library"
    add_version(folder, 0)
    add_version(folder, 1)
    return folder


def make_bundle(policy, weights: Mapping[str, np.ndarray]) -> Bundle:
    """A bundle with one transition."""
    encoder = policy.encoder
    none = Transitions(*(np.zeros((1, 4), np.float32) for _ in Transitions._fields))
    return Bundle(
        weights=weights,
        experience=none,
        default_action_experience=none,
        slices=encoder.slices,
        sla_throughput_mbps=encoder.sla_throughput_mbps,
        sla_delay_ms=encoder.sla_delay_ms,
        message=encoder.message,
        returns={},
        provenance=policy.provenance,
        policy=describe_policy(policy),
    )
