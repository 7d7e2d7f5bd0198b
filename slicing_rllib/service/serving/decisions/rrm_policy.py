"""Shares in the style of O1: `RRMPolicyRatio` of 3GPP TS 28.541, in whole percent.

No conformance is claimed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slicing_rllib.service.serving.decisions.a1_policy import A1Policy

PERCENT = 100


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


def make_rrm_policies(
    cell: str, shares: Mapping[str, float], a1_policies: Mapping[str, A1Policy]
) -> list[dict[str, Any]]:
    """An `RRMPolicyRatio` per slice, whose dedicated and largest ratio are the slice's share.

    Members carry the S-NSSAI of the slice's A1-style policy; without one, the list is empty.
    """
    percent = round_to_percent(list(shares.values()))
    return [
        {
            "id": f"{cell}-{name}",
            "attributes": {
                "resourceType": "PRB_DL",
                "rRMPolicyMemberList": _list_members(a1_policies.get(name)),
                "rRMPolicyDedicatedRatio": ratio,
                "rRMPolicyMinRatio": ratio,
                "rRMPolicyMaxRatio": ratio,
            },
        }
        for name, ratio in zip(shares, percent, strict=True)
    ]


def _list_members(policy: A1Policy | None) -> list[dict[str, Any]]:
    if policy is None:
        return []
    slice_id = policy.scope.sliceId
    snssai = {"sst": slice_id.sst} | ({"sd": slice_id.sd} if slice_id.sd else {})
    return [{"plmnId": slice_id.plmnId.model_dump(), "snssai": snssai}]
