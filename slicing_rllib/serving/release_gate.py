"""Why a release must not replace the live one: another interface, or worse on the same traffic."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import DecisionView, Policy
from slicing_rllib.evaluation import rollout
from slicing_rllib.evaluation.statistics import paired_difference
from slicing_rllib.policies import CellPolicy
from slicing_rllib.runs.policy_evaluation import (
    derive_evaluation_seeds,
    make_named_policy,
    make_network,
)
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.closed_loop import make_request
from slicing_rllib.serving.decisions import LoadReport, PolicySet, decide, list_new_reports
from slicing_rllib.serving.requests import DecisionRequest

RULES = ("traffic_aware", "smoothed_persistence", "load_proportional")
"""The strongest simple rules that know only the past."""
ANY_AGE_S = 1e9


def compare_interfaces(live: PolicySet, wanted: PolicySet) -> list[str]:
    """What callers of the live policies would notice: cells, slices, KPIs and SLAs that differ."""
    found: list[str] = []
    for cell, policy in live.policies.items():
        other = wanted.policies.get(cell)
        if other is None:
            found.append(f"{cell}: has no policy any more")
            continue
        for name, before in _describe(policy).items():
            if (after := _describe(other)[name]) != before:
                found.append(f"{cell}: {name} {after}, those of the live version are {before}")
    return found


def _describe(policy: CellPolicy) -> dict[str, object]:
    encoder = policy.encoder
    return {
        "slices": encoder.slices,
        "KPIs": encoder.required_kpis,
        "SLAs": (encoder.sla_throughput_mbps, encoder.sla_delay_ms),
    }


class ServedPolicy:
    """The policies of a service as the policy of an environment, fallbacks included."""

    def __init__(self, policies: PolicySet, cells: Sequence[str], slices: Sequence[str]) -> None:
        self._policies, self._cells, self._slices = policies, cells, slices
        self._kept: dict[str, LoadReport] = {}

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier."""
        asked = make_request(view.kpis, self._cells, self._slices)
        request, now = DecisionRequest.model_validate(asked), datetime.now(UTC)
        for cell, report in list_new_reports(request, self._policies, now).items():
            self._kept[cell] = report.follow(self._kept.get(cell))
        made = decide(request, self._policies, self._kept, now, ANY_AGE_S)
        equal = dict.fromkeys(self._slices, 1.0 / len(self._slices))
        rows = [made[cell].shares if cell in made else equal for cell in self._cells]
        return np.array([[row.get(name, 0.0) for name in self._slices] for row in rows])


def compare_on_traffic(live: PolicySet, wanted: PolicySet, run: RunDirectory) -> list[str]:
    """The live version and simple rules that have significantly more satisfaction than a release.

    All meet the same evaluation traffic of the run's network, seed by seed.
    """
    config = run.config()
    cells, slices = config.scenario.cells, [spec.name for spec in config.scenario.slices]
    if unknown := wanted.policies.keys() - set(cells):
        return [f"{run.path}: no evaluation, its network has no cell {min(unknown)}"]
    env, seeds = make_network(config), derive_evaluation_seeds(config)

    def measure(policy: Policy) -> Float[np.ndarray, " seed"]:
        runs = [rollout(env, policy, config.evaluation.steps, seed) for seed in seeds]
        return np.array([done.satisfaction[done.live].mean() for done in runs])

    ours = measure(ServedPolicy(wanted, cells, slices))
    others: dict[str, Policy] = {"the live version": ServedPolicy(live, cells, slices)}
    others |= {name: make_named_policy(name, config, run) for name in RULES}
    found: list[str] = []
    for name, policy in others.items():
        mean, interval = paired_difference(ours, measure(policy))
        if interval is None:
            return [f"{run.path}: no evaluation, its config has too few seeds"]
        low, high = interval
        if high < 0.0:
            found.append(
                f"satisfaction − that of {name}: {mean:.4f} ({low:.4f} to {high:.4f}) over "
                f"{len(seeds)} seeds"
            )
    return found
