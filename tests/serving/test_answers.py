"""Shares in whole percent, per slice of an A1-style policy."""

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.serving.answers import RrmPolicy, make_rrm_policies, round_to_percent
from slicing_rllib.serving.requests import A1Policy

POLICY = {
    "scope": {"sliceId": {"sst": 1, "sd": "00000A", "plmnId": {"mcc": "001", "mnc": "01"}}},
    "sliceSlaObjectives": {"guaDlThptPerSlice": 4000, "maxDlPacketDelayPerUe": 3.0},
}


def test_thirds_by_hand():
    """33.3 each: the first slice gets the missing percent."""
    assert round_to_percent([1 / 3, 1 / 3, 1 / 3]) == [34, 33, 33]
    assert make_rrm_policies("an unknown cell without slices", {}, {}) == []
    assert round_to_percent([0.295, 0.296, 0.409]) == [29, 30, 41]


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12))
def test_percentages_add_up_and_are_less_than_1_off(weights: list[float]):
    percent = round_to_percent(weights)
    exact = [100 * weight / sum(weights) for weight in weights]
    assert sum(percent) == 100
    assert all(abs(a - b) < 1 for a, b in zip(percent, exact, strict=True))


def test_ratios_carry_the_slice_of_the_a1_policy():
    made = make_rrm_policies("cell_1", {"a": 0.25, "b": 0.75}, {"a": A1Policy(**POLICY)})
    first, second = (row.attributes for row in made)

    assert (first.rRMPolicyDedicatedRatio, second.rRMPolicyMaxRatio) == (25, 75)
    assert first.rRMPolicyMemberList == [
        {"plmnId": {"mcc": "001", "mnc": "01"}, "snssai": {"sst": 1, "sd": "00000A"}}
    ]
    assert second.rRMPolicyMemberList == []
    for row in made:
        jsonschema.validate(row.model_dump(), RrmPolicy.model_json_schema())
