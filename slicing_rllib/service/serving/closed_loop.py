"""Runs the simulator as the network and the service as its controller, and the same in process."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from slicing_rllib.env import Policy, satisfaction, slice_reward
from slicing_rllib.radio import Scenario, StepKpis
from slicing_rllib.service.runs.cell_policies import follow
from slicing_rllib.service.runs.evaluation import (
    derive_evaluation_seeds,
    make_network,
    make_trained_policy,
)
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.service.serving.http_policy import HttpPolicy

LARGEST_DIFFERENCE = 1e-6
"""Of a KPI, relative to its value or to 1, whichever is larger."""

OnStep = Callable[[str, int, int], None]


class ClosedLoop(NamedTuple):
    """What the network did under the service, beside evaluation in process."""

    steps: int
    reward_mean: float
    """Eq. (2), mean over cells and steps, under the service."""
    satisfaction_mean: float
    in_process_reward_mean: float
    largest_difference: dict[str, float]
    """By KPI, relative to its value or to 1, whichever is larger."""
    fallbacks: dict[str, int]
    """Decisions that policies did not make, by reason."""

    @property
    def is_equal(self) -> bool:
        """Whether all KPIs agree and every decision was a policy's."""
        largest = max(self.largest_difference.values())
        return largest <= LARGEST_DIFFERENCE and not self.fallbacks


def run_closed_loop(
    run: RunDirectory, url: str, steps: int, token: str | None, on_step: OnStep
) -> ClosedLoop:
    """Both loops on the run's first evaluation seed.

    Args:
        run: the run whose policies the service serves.
        url: address of the service.
        steps: network steps.
        token: bearer token of the service; None if it asks for none.
        on_step: called after each step with a name, the steps done, and all steps.

    Raises: RunError if the service does not answer.
    """
    config = run.config()
    scenario = config.scenario
    names = [spec.name for spec in scenario.slices]
    served = HttpPolicy(url, scenario.cells, names, token)

    def record(name: str, policy: Policy) -> list[StepKpis]:
        env, kpis = make_network(config), []
        for step, _ in enumerate(follow(env, policy, steps, derive_evaluation_seeds(config)[0])):
            kpis.append(env.kpis)
            on_step(name, step, steps)
        return kpis[1:]

    try:
        over_http = record("over HTTP", served)
    finally:
        served.close()
    in_process = record("in process", make_trained_policy(config, run.policies()))
    rewards = [_compute_rewards(kpis, scenario) for kpis in (over_http, in_process)]
    throughput = np.stack([step.throughput_mbps for step in over_http])
    return ClosedLoop(
        steps=steps,
        reward_mean=rewards[0],
        satisfaction_mean=float(satisfaction(throughput, scenario.sla_throughput_mbps).mean()),
        in_process_reward_mean=rewards[1],
        largest_difference=_compare(over_http, in_process),
        fallbacks=served.fallbacks,
    )


def _compare(ours: list[StepKpis], theirs: list[StepKpis]) -> dict[str, float]:
    differences: dict[str, float] = {}
    for name in StepKpis._fields:
        a, b = (np.stack([getattr(step, name) for step in steps]) for steps in (ours, theirs))
        differences[name] = float((np.abs(a - b) / np.maximum(np.abs(b), 1.0)).max())
    return differences


def _compute_rewards(kpis: list[StepKpis], scenario: Scenario) -> float:
    rewards = [
        slice_reward(
            step.throughput_mbps,
            step.delay_ms,
            scenario.sla_throughput_mbps,
            scenario.sla_delay_ms,
        ).mean()
        for step in kpis
    ]
    return float(np.mean(rewards))
