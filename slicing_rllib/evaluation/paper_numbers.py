"""Numbers that the paper reports, for comparison with results of this code."""

PAPER = {
    "traffic_aware": {"satisfaction_mean": 0.87, "fail_rate_95": 0.25, "delay_max_ms": 1.8},
    "drl": {"satisfaction_mean": 0.90, "fail_rate_95": 0.19, "delay_max_ms": 1.7},
    "tl": {"satisfaction_mean": 0.92, "fail_rate_95": 0.12, "delay_max_ms": 1.5},
}
"""By policy. Source: the paper, Fig. 5, Fig. 6 and text."""
PAPER_TITLES = {"traffic_aware": "baseline", "drl": "DRL", "tl": "TL"}
"""The paper's names of these policies."""
