"""A network with random policies, its requests, and the answers that NumPy gives to them."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from slicing_rllib.benchmarks.rows import NetworkSize
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.policies import CellPolicy, describe_policy
from slicing_rllib.radio import StepKpis
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.policy_evaluation import (
    Weights,
    make_cell_policies,
    make_network,
    record_kpis,
)
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.serving.closed_loop import make_request
from slicing_rllib.transfer import Bundle, PolicyLibrary

WITH_MESSAGES = [
    "learning.actor=mlp",
    "learning.base_policy=none",
    "learning.initial_actor=random",
    "learning.actor_objective=critic",
    "env.observation=paper",
]
"""Settings of `quick` with the paper's observation, which reads messages of neighbours."""


def configure(size: NetworkSize, settings: Sequence[str] = ()) -> RunConfig:
    """A run of `quick` in a network of this size."""
    config = load_config("quick", ["env.deployments=[]", *settings])
    return config.model_copy(update={"scenario": size.make_scenario()})


def draw_weights(config: RunConfig, seed: int) -> Weights:
    """Random actors with small corrections, so that shares stay sensible."""
    rng = np.random.default_rng(seed)
    widths = config.actor_form.compute_widths(make_network(config).obs_size, (48, 24))
    shapes = {
        f"actor.{2 * n}.{part}": (b, a) if part == "weight" else (b,)
        for n, (a, b) in enumerate(itertools.pairwise(widths))
        for part in ("weight", "bias")
    }
    return {
        cell: {n: rng.normal(0, 0.2, shape).astype(np.float32) for n, shape in shapes.items()}
        for cell in config.scenario.cells
    }


def measure_network(config: RunConfig, steps: int) -> list[StepKpis]:
    """KPIs of the network in `steps` intervals, under random policies."""
    return record_kpis(config, draw_weights(config, 0), steps - 1)


def add_version(
    folder: Path, config: RunConfig, recorded: Sequence[StepKpis], seed: int
) -> dict[str, CellPolicy]:
    """Adds random policies to a library as its next version; the policies, by cell.

    Args:
        folder: the library.
        config: the network and the form of its policies.
        recorded: KPIs that the ranges of training are taken from.
        seed: draws the weights.
    """
    library, weights = PolicyLibrary(str(folder)), draw_weights(config, seed)
    policies = make_cell_policies(config, weights, recorded)
    for cell, policy in policies.items():
        library.add(policy.name, _make_bundle(policy, weights[cell]))
    return policies


def make_bodies(config: RunConfig, recorded: Sequence[StepKpis], n_cells: int) -> list[bytes]:
    """A request per interval, with the KPIs of the first `n_cells` cells."""
    slices = [spec.name for spec in config.scenario.slices]
    requests = [make_request(kpis, config.scenario.cells, slices) for kpis in recorded]
    first = config.scenario.cells[:n_cells]
    return [
        json.dumps({"cells": {cell: request["cells"][cell] for cell in first}}).encode()
        for request in requests
    ]


def _make_bundle(policy: CellPolicy, weights: Mapping[str, np.ndarray]) -> Bundle:
    """A bundle with one transition of zeros."""
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
