"""What a caller gets: shares by cell and slice, and where they come from.

With `?format=o1`, shares also come in the style of `RRMPolicyRatio` of 3GPP TS 28.541, in whole
percent. No conformance is claimed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from slicing_rllib.policies import KPI_SPECS, CellPolicy
from slicing_rllib.serving.requests import A1Policy

PERCENT = 100


class AnswerModel(BaseModel):
    """A part of an answer, as `/openapi.json` describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RrmAttributes(AnswerModel):
    """Attributes of an `RRMPolicyRatio`, in the style of 3GPP TS 28.541."""

    resourceType: str
    rRMPolicyMemberList: list[dict[str, Any]]
    """S-NSSAI of the slice's A1-style policy; empty without one."""
    rRMPolicyDedicatedRatio: int
    """Percent of the carrier; the slices of a cell have a sum of 100."""
    rRMPolicyMinRatio: int
    rRMPolicyMaxRatio: int


class RrmPolicy(AnswerModel):
    """One slice's ratios."""

    id: str
    attributes: RrmAttributes


class Reason(StrEnum):
    """Why a policy does not answer."""

    UNKNOWN_CELL = "unknown_cell"
    """No policy is for this cell."""
    SLICES_CHANGED = "slices_changed"
    """The cell's slices are not those of its policy."""
    INVALID_REPORT = "invalid_report"
    """A value cannot be read, or values contradict each other."""
    MISSING_KPIS = "missing_kpis"
    """A KPI that the policy needs is not there."""
    STALE_KPIS = "stale_kpis"
    """The cell's KPIs are too old, or from the future."""
    MISSING_NEIGHBOURS = "missing_neighbours"
    """A neighbour that the message needs has reported nothing."""
    STALE_NEIGHBOURS = "stale_neighbours"
    """A neighbour's last report is too old."""
    OUTSIDE_TRAINING = "outside_training"
    """A KPI is far outside of what was recorded where the policy was trained."""
    SLA_NOT_OBSERVED = "sla_not_observed"
    """The SLA is another than in training, and the policy cannot see it."""
    POLICY_FAILED = "policy_failed"
    """The policy's answer is not finite."""


class Method(StrEnum):
    """What answers instead."""

    BASE_POLICY = "base_policy"
    """The split that was best in the last interval."""
    TRAFFIC_PROPORTIONAL = "traffic_proportional"
    """Shares in proportion to offered traffic, or else to load."""
    EQUAL = "equal"
    """Equal shares."""


@dataclass(frozen=True)
class Fallback:
    """Why the cell's policy did not answer, and what answered instead."""

    reason: Reason
    method: Method
    detail: str


class Decision(AnswerModel):
    """The shares of one cell."""

    shares: dict[str, float]
    """By slice, those of the report and those of the policy: share of the carrier's PRBs. Their sum
    is 1. Empty if the cell is unknown and none of its slices can be read."""
    policy: str | None
    """name@version of the cell's policy; null for an unknown cell."""
    policy_sha256: str | None
    """Digest of encoder, base policy and weights."""
    age_s: float
    """Age of the cell's KPIs."""
    neighbours_age_s: float | None
    """Age of the oldest report of a neighbour; null if the policy reads none."""
    fallback: Fallback | None
    """Null if the policy answered."""
    rrm_policies: list[RrmPolicy] | None = None
    """With `?format=o1`: the shares in whole percent, per slice."""
    served_policy: InstanceOf[CellPolicy] | None = Field(exclude=True)
    """The cell's policy; not in the answer, as the next field."""
    table: InstanceOf[np.ndarray] = Field(exclude=True)
    """The KPIs that the decision rests on, (slice, KPI); NaN for those that are not there."""


class DecisionAnswer(AnswerModel):
    """Decisions by cell."""

    decisions: dict[str, Decision]


class PolicyDescription(AnswerModel):
    """One cell's policy."""

    policy: str
    """name@version"""
    policy_sha256: str
    slices: dict[str, dict[str, float]]
    """SLA by slice: throughput_mbps and delay_ms."""
    kpis: dict[str, str]
    """KPIs that every slice must report, with their units."""
    neighbours: list[str]
    """Cells whose load the policy needs."""


def make_answer(
    decisions: Mapping[str, Decision], a1_policies: Mapping[str, A1Policy] | None
) -> bytes:
    """The answer as JSON. `a1_policies` None leaves the ratios in percent out."""
    if a1_policies is not None:
        for cell, decision in decisions.items():
            decision.rrm_policies = make_rrm_policies(cell, decision.shares, a1_policies)
    answer = DecisionAnswer(decisions=dict(decisions))
    return answer.model_dump_json(exclude_unset=True).encode()


def make_rrm_policies(
    cell: str, shares: Mapping[str, float], a1_policies: Mapping[str, A1Policy]
) -> list[RrmPolicy]:
    """An `RRMPolicyRatio` per slice, whose dedicated and largest ratio are the slice's share.

    Members carry the S-NSSAI of the slice's A1-style policy; without one, the list is empty.
    """
    rows: list[RrmPolicy] = []
    if not shares:
        return rows
    for name, percent in zip(shares, round_to_percent(list(shares.values())), strict=True):
        members: list[dict[str, Any]] = []
        if policy := a1_policies.get(name):
            slice_id = policy.scope.sliceId.model_dump(exclude_none=True)
            members = [{"plmnId": slice_id.pop("plmnId"), "snssai": slice_id}]
        attributes = RrmAttributes(
            resourceType="PRB_DL",
            rRMPolicyMemberList=members,
            rRMPolicyDedicatedRatio=percent,
            rRMPolicyMinRatio=percent,
            rRMPolicyMaxRatio=percent,
        )
        rows.append(RrmPolicy(id=f"{cell}-{name}", attributes=attributes))
    return rows


def round_to_percent(shares: Sequence[float]) -> list[int]:
    """Whole percentages with a sum of 100, by the largest remainder.

    Each is at most 1 away from its exact value. Equal remainders: the earlier slice gets more.
    """
    exact = np.array(shares, float) * (PERCENT / sum(shares))
    floor = np.floor(exact + 1e-9)
    missing = PERCENT - int(floor.sum())
    order = np.argsort(-(exact - floor), kind="stable")
    floor[order[:missing]] += 1
    return [int(value) for value in floor]


def make_description(policy: CellPolicy) -> PolicyDescription:
    """What a caller needs to know of a policy."""
    encoder = policy.encoder
    sla = zip(encoder.slices, encoder.sla_throughput_mbps, encoder.sla_delay_ms, strict=True)
    return PolicyDescription(
        policy=policy.label,
        policy_sha256=policy.digest,
        slices={
            name: {"sla_throughput_mbps": throughput, "sla_delay_ms": delay}
            for name, throughput, delay in sla
        },
        kpis={name: KPI_SPECS[name].unit for name in encoder.required_kpis},
        neighbours=list(encoder.neighbours),
    )


def make_example(policies: Mapping[str, CellPolicy]) -> dict[str, Any]:
    """A request with every served cell, whose KPIs are the means of its training."""
    cells: dict[str, Any] = {}
    for cell, policy in policies.items():
        names = dict.fromkeys((*policy.encoder.required_kpis, "load"))
        recorded = {name: policy.recorded[name] for name in names if name in policy.recorded}
        cells[cell] = {
            "slices": {
                slice_name: {kpi: ranges[row].mean for kpi, ranges in recorded.items()}
                for row, slice_name in enumerate(policy.encoder.slices)
            }
        }
    return {"cells": cells}
