"""Metrics of the service, and its comparison with a shadow version."""

import json
from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.policies import CellPolicy
from slicing_rllib.runs.policy_evaluation import make_cell_policies, record_kpis
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.answers import Decision
from slicing_rllib.serving.policy_service import ShadowComparison
from slicing_rllib.serving.request_metrics import DriftMonitor
from slicing_rllib.serving.requests import KPI_NAMES


@pytest.fixture(scope="module")
def policy(served_run: RunDirectory) -> CellPolicy:
    config, weights = served_run.config(), served_run.policies()
    return make_cell_policies(config, weights, record_kpis(config, weights, 20))["cell_1"]


def test_drift_counts_standard_deviations(policy: CellPolicy):
    """A KPI that stays three standard deviations above its mean drifts by three."""
    table = np.full((4, len(KPI_NAMES)), np.nan)
    for name, ranges in policy.recorded.items():
        for row, kpi in enumerate(ranges):
            raised = kpi.mean + (3.0 * kpi.std if name == "users" else 0.0)
            table[row, KPI_NAMES.index(name)] = raised
    monitor = DriftMonitor()
    drifts = [monitor.update(policy, table) for _ in range(3)]
    assert drifts == pytest.approx([3.0] * 3, rel=1e-6)


def test_a_shadow_version_is_compared_by_cell(policy: CellPolicy, tmp_path):
    """Differences of .1 and .3 have a mean of .2; the log has a line per decision."""
    comparison = ShadowComparison(str(tmp_path / "shadow.jsonl"))
    candidate = replace(policy, version=1)
    for difference in (0.1, 0.3):
        made = [
            Decision(
                shares={"a": share, "b": 1.0 - share},
                policy=version.label,
                policy_sha256=version.digest,
                age_s=0.0,
                neighbours_age_s=None,
                fallback=None,
                served_policy=version,
                table=np.zeros((2, 0)),
            )
            for version, share in ((policy, 0.5), (candidate, 0.5 + difference))
        ]
        comparison.add({"cell_1": made[0]}, {"cell_1": made[1]})

    row = comparison.summarise()["cell_1"]
    assert (row["live"], row["candidate"]) == (policy.label, candidate.label)
    assert (row["decisions"], row["largest_difference"]) == (2, pytest.approx(0.3))
    assert row["mean_difference"] == pytest.approx(0.2)
    lines = [json.loads(line) for line in (tmp_path / "shadow.jsonl").read_text().splitlines()]
    assert [line["candidate_shares"]["a"] for line in lines] == pytest.approx([0.6, 0.8])
    assert lines[0]["live_fallback"] is None
