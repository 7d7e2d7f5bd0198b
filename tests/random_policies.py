"""Versions of random policies in a library, and whether the answers of a service are theirs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from slicing_rllib.benchmarks.serving import decide_in_numpy, draw_weights
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.policies import CellPolicy, describe_policy
from slicing_rllib.radio import StepKpis
from slicing_rllib.runs.policy_evaluation import make_cell_policies
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.transfer import Bundle, PolicyLibrary

WITH_MESSAGES = [
    "learning.actor=mlp",
    "learning.base_policy=none",
    "learning.initial_actor=random",
    "learning.actor_objective=critic",
    "env.observation=paper",
]
"""Settings of `quick` with the paper's observation, which reads messages of neighbours."""


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
    none = Transitions(*(np.zeros((1, 4), np.float32) for _ in Transitions._fields))
    for cell, policy in policies.items():
        encoder = policy.encoder
        bundle = Bundle(
            weights=weights[cell],
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
        library.add(policy.name, bundle)
    return policies


Decisions = tuple[str, Float32[np.ndarray, "interval slice"]]
"""The digest of a cell's policy, and its shares for each request."""
LARGEST_DIFFERENCE = 1e-6
"""Of a share from NumPy's, and of a sum from 1: shares are float32."""


class AnswerCheck:
    """Compares answers with what the policies of each version answer in NumPy.

    Args:
        policies: by version, then by cell.
        recorded: KPIs of the network by interval; request number n has those of interval n.
        cells: all cells of the network, in the order of the rows of KPIs.
        asked: the cells that requests contain.
    """

    def __init__(
        self,
        policies: Mapping[int, Mapping[str, CellPolicy]],
        recorded: Sequence[StepKpis],
        cells: Sequence[str],
        asked: Sequence[str],
    ) -> None:
        self.expected = {
            version: {
                cell: (by_cell[cell].digest, decide_in_numpy(by_cell[cell], recorded, cells))
                for cell in asked
            }
            for version, by_cell in policies.items()
        }
        """Digest and shares by version and cell."""
        self._asked = set(asked)
        self.allowed = set(policies)
        """Versions that may answer."""

    def __call__(self, number: int, content: bytes) -> str | None:
        """What is wrong with the answer to request `number`; None if nothing is."""
        decisions: dict[str, dict[str, Any]] = json.loads(content)["decisions"]
        if decisions.keys() != self._asked:
            return f"{len(decisions)} cells are answered, expected {len(self._asked)}"
        labels = {str(decision["policy"]).rpartition("@")[2] for decision in decisions.values()}
        if labels not in [{str(version)} for version in self.allowed]:
            return f"versions {sorted(labels)}, expected one of {sorted(self.allowed)}"
        version = int(labels.pop())
        for cell, decision in decisions.items():
            if mistake := _compare(decision, self.expected[version][cell], number):
                return f"{cell}: {mistake}"
        return None


def _compare(decision: Mapping[str, Any], expected: Decisions, number: int) -> str | None:
    digest, right_shares = expected
    if decision["fallback"] is not None:
        return f"fallback {decision['fallback']['reason']}"
    if decision["policy_sha256"] != digest:
        return "the digest is that of another policy"
    shares = list(decision["shares"].values())
    if not all(map(math.isfinite, shares)) or abs(sum(shares) - 1.0) > LARGEST_DIFFERENCE:
        return f"shares {shares}"
    difference = float(np.abs(np.array(shares) - right_shares[number]).max())
    return f"shares differ by {difference:g}" if difference > LARGEST_DIFFERENCE else None
