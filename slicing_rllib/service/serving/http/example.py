"""A request that the served policies answer."""

from typing import Any

from slicing_rllib.service.serving.versions.served_policies import ServedPolicies


def make_example(served: ServedPolicies) -> dict[str, Any]:
    """A request with every served cell, whose KPIs are the means of its training."""
    cells: dict[str, Any] = {}
    for cell, policy in served.live.policies.items():
        names = tuple(dict.fromkeys((*policy.encoder.required_kpis, "load")))
        recorded = {name: policy.recorded[name] for name in names if name in policy.recorded}
        cells[cell] = {
            "slices": {
                slice_name: {kpi: ranges[row].mean for kpi, ranges in recorded.items()}
                for row, slice_name in enumerate(policy.encoder.slices)
            }
        }
    return {"cells": cells}
