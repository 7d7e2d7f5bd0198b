"""What a caller gets: shares by cell and slice, and where they come from."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from slicing_rllib.policies import KPI_SPECS, CellPolicy
from slicing_rllib.service.serving.decisions.a1_policy import A1Policy
from slicing_rllib.service.serving.decisions.decision import Decision
from slicing_rllib.service.serving.decisions.fallback import Method, Reason
from slicing_rllib.service.serving.decisions.rrm_policy import make_rrm_policies


class AnswerModel(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Fallback(AnswerModel):
    """Why the cell's policy did not answer, and what answered instead."""

    reason: Reason
    method: Method
    detail: str


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


class CellDecision(AnswerModel):
    """The shares of one cell."""

    shares: dict[str, float]
    """By slice: share of the carrier's PRBs. Their sum is 1."""
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


class DecisionAnswer(AnswerModel):
    """Decisions by cell."""

    decisions: dict[str, CellDecision]


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
) -> dict[str, Any]:
    """The answer as plain values, as `DecisionAnswer` describes it.

    `a1_policies` None leaves the ratios in percent out.
    """
    return {"decisions": {cell: _describe(cell, d, a1_policies) for cell, d in decisions.items()}}


def describe_policy(policy: CellPolicy) -> dict[str, Any]:
    """What `PolicyDescription` says about a policy."""
    encoder = policy.encoder
    sla = zip(encoder.slices, encoder.sla_throughput_mbps, encoder.sla_delay_ms, strict=True)
    return {
        "policy": policy.label,
        "policy_sha256": policy.digest,
        "slices": {
            name: {"sla_throughput_mbps": throughput, "sla_delay_ms": delay}
            for name, throughput, delay in sla
        },
        "kpis": {name: KPI_SPECS[name].unit for name in encoder.required_kpis},
        "neighbours": list(encoder.neighbours),
    }


def _describe(
    cell: str, decision: Decision, a1_policies: Mapping[str, A1Policy] | None
) -> dict[str, Any]:
    shares = dict(zip(decision.slices, decision.shares, strict=True))
    policy, reason = decision.policy, decision.reason
    row: dict[str, Any] = {
        "shares": shares,
        "policy": policy.label if policy else None,
        "policy_sha256": policy.digest if policy else None,
        "age_s": decision.age_s,
        "neighbours_age_s": decision.neighbours_age_s,
        "fallback": reason
        and {"reason": reason, "method": decision.method, "detail": decision.detail},
    }
    if a1_policies is not None:
        row["rrm_policies"] = make_rrm_policies(cell, shares, a1_policies)
    return row
