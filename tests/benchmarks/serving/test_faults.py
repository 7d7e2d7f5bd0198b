"""Roll-out, roll-back and kill -9 under load, on a service with two replicas."""

import pytest

from slicing_rllib.benchmarks.rows import is_within_tolerance
from slicing_rllib.benchmarks.serving import faults
from slicing_rllib.benchmarks.serving.load import Outcome


def test_recovery_ends_with_the_last_lost_request_or_the_first_answer_after_the_kill():
    """Killed at 10 s: an answer to an earlier request does not count, one at 11 s does."""
    before = Outcome(10.5, 1000.0, None, None)
    lost = Outcome(10.8, 400.0, "status 500", None)
    after = Outcome(11.0, 500.0, None, None)

    assert faults._find_recovery_s([before, lost, after], 10.0) == pytest.approx(1.0)
    late = lost._replace(ended_s=12.0)
    assert faults._find_recovery_s([before, after, late], 10.0) == pytest.approx(2.0)


@pytest.mark.slow
def test_roll_outs_lose_no_request_and_no_fault_makes_an_answer_wrong(
    ray_folder: str, monkeypatch: pytest.MonkeyPatch
):
    """Every answer is compared with NumPy's, in the version that may answer."""
    monkeypatch.setenv("RAY_TMPDIR", ray_folder)
    rows = list(faults.run(replicas=[2], on_message=print))

    expected = [row for row in rows if "expected" in row]
    assert len(expected) == 7
    assert all(map(is_within_tolerance, expected)), expected
    (replaced,) = [row for row in rows if row["name"] == "serving.replacement_s"]
    assert replaced["value"] < faults.TIMEOUT_S
