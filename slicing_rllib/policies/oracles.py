"""Oracles: policies that know the users and rates of the step that they decide.

No policy can be best in every metric at once, so each metric has a response of its own; all cells
repeat it until a Nash equilibrium.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import DecisionView, max_min_split
from slicing_rllib.radio import Scenario, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]
Response = Callable[[StepKpis, Scenario], PerSlice]
"""Every cell's best split at the interference under which the KPIs were measured."""
TOLERANCE = 1e-3
"""Change of any share between two rounds at which the splits count as an equilibrium."""
MAX_ROUNDS = 20
"""Number of rounds after which the oracle stops without an equilibrium."""
OUT_OF_REACH = 1e3
"""A served share that no split of one carrier can give."""


def needed_service(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Served share of the carrier at which a slice just meets its throughput and its delay SLA.

    With F the served share, C the mean rate, H the mean inverse rate and L the packet size,
    phi = C F and d = L H / F. Thus phi >= phi* and d <= d* if F >= max(phi* / C, L H / d*).
    It is 0 for a slice without UEs.
    """
    for_delay = _service_for_one_ms(kpis) / scenario.sla_delay_ms
    return np.maximum(_service_for_throughput(kpis, scenario), for_delay)


def _service_for_throughput(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    return np.where(kpis.users > 0, scenario.sla_throughput_mbps / kpis.mean_rate_mbps, 0.0)


def _service_for_one_ms(kpis: StepKpis) -> PerSlice:
    return np.where(kpis.users > 0, kpis.packet_kbit * kpis.mean_inverse_rate, 0.0)


def best_response(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Each cell's best split at the interference under which `kpis` were measured."""
    return max_min_split(kpis.required_share, needed_service(kpis, scenario))


def best_throughput_response(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """As `best_response`, for the throughput satisfaction of each cell's worst slice."""
    return max_min_split(kpis.required_share, _service_for_throughput(kpis, scenario))


def lowest_delay_response(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """As `best_response`, for the largest delay of each cell's slices.

    Served shares in proportion to the service for one ms give equal delays. They are scaled until
    the largest is `OUT_OF_REACH`, so that `max_min_split` never stops at a level that suffices.
    """
    needed = _service_for_one_ms(kpis)
    largest = needed.max(axis=1, keepdims=True)
    needed = OUT_OF_REACH * needed / np.where(largest > 0.0, largest, 1.0)
    return max_min_split(kpis.required_share, needed)


def find_equilibrium(view: DecisionView, scenario: Scenario, respond: Response) -> PerSlice:
    """Splits at which no cell gains by another split, or those after `MAX_ROUNDS` rounds.

    From the second round on, the new split is averaged with the last one, because the best
    responses of neighbours may otherwise cycle.
    """
    split = respond(view.simulator.evaluate(view.kpis.prb_ratio), scenario)
    for _ in range(MAX_ROUNDS):
        response = respond(view.simulator.evaluate(split), scenario)
        if np.abs(response - split).max() < TOLERANCE:
            return response
        split = 0.5 * (split + response)
    return split
