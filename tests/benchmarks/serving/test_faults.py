"""Roll-out, roll-back and kill -9 under load, on a service with two replicas."""

import pytest

from slicing_rllib.benchmarks.rows import is_within_tolerance
from slicing_rllib.benchmarks.serving import faults


@pytest.mark.slow
def test_roll_outs_lose_no_request_and_no_fault_makes_an_answer_wrong(
    ray_folder: str, monkeypatch: pytest.MonkeyPatch
):
    """Every answer is compared with NumPy's, in the version that may answer."""
    monkeypatch.setenv("RAY_TMPDIR", ray_folder)
    rows = list(faults.run(replicas=[2], on_message=print))

    expected = [row for row in rows if "expected" in row]
    assert len(expected) == 5
    assert all(map(is_within_tolerance, expected)), expected
    (replaced,) = [row for row in rows if row["name"] == "serving.replacement_s"]
    assert replaced["value"] < faults.TIMEOUT_S
