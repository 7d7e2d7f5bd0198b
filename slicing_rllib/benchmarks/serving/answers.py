"""Whether an answer of the service is right: complete, of one version, and equal to NumPy's."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from slicing_rllib.policies import CellPolicy
from slicing_rllib.policies.encoder import stack_columns
from slicing_rllib.radio import StepKpis

LARGEST_DIFFERENCE = 1e-6
"""Of a share from NumPy's, and of a sum from 1: shares are float32."""


class _Expected(NamedTuple):
    """What one cell's policy of one version answers."""

    digest: str
    shares: Float32[np.ndarray, "interval slice"]


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
            version: {cell: _decide(by_cell[cell], recorded, cells) for cell in asked}
            for version, by_cell in policies.items()
        }
        """By version and cell."""
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


def _compare(decision: Mapping[str, Any], expected: _Expected, number: int) -> str | None:
    if decision["fallback"] is not None:
        return f"fallback {decision['fallback']['reason']}"
    if decision["policy_sha256"] != expected.digest:
        return "the digest is that of another policy"
    shares = list(decision["shares"].values())
    if not all(map(math.isfinite, shares)) or abs(sum(shares) - 1.0) > LARGEST_DIFFERENCE:
        return f"shares {shares}"
    difference = float(np.abs(np.array(shares) - expected.shares[number]).max())
    return f"shares differ by {difference:g}" if difference > LARGEST_DIFFERENCE else None


def _decide(policy: CellPolicy, recorded: Sequence[StepKpis], cells: Sequence[str]) -> _Expected:
    columns = stack_columns(
        recorded, cells.index(policy.encoder.cell), policy.encoder.required_kpis
    )
    rows = [cells.index(name) for name in policy.encoder.neighbours]
    load = np.stack([step.load[rows] for step in recorded])
    return _Expected(policy.digest, policy.decide(columns, load))
