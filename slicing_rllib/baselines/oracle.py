"""Oracles: policies that know the users and rates of the step that they decide."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import needed_service
from slicing_rllib.env import DecisionView, max_min_split
from slicing_rllib.radio import Scenario, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]

TOLERANCE = 1e-3
"""Change of any share between two rounds at which the splits count as an equilibrium."""
MAX_ROUNDS = 20
"""Number of rounds after which the oracle stops without an equilibrium."""


def best_response(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Each cell's best split at the interference under which `kpis` were measured."""
    return max_min_split(kpis.required_share, needed_service(kpis, scenario))


@dataclass(frozen=True)
class OracleO1:
    """The best response to the interference that the last step's splits cause in this step."""

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return best_response(view.simulator.evaluate(view.kpis.prb_ratio), self.scenario)


@dataclass(frozen=True)
class Oracle:
    """Best responses of all cells, repeated until they are a Nash equilibrium (O1-BR).

    From the second round on, the new split is averaged with the last one, because the best
    responses of neighbours may otherwise cycle. It stops after `MAX_ROUNDS` rounds in any case.
    """

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        split = best_response(view.simulator.evaluate(view.kpis.prb_ratio), self.scenario)
        for _ in range(MAX_ROUNDS):
            response = best_response(view.simulator.evaluate(split), self.scenario)
            if np.abs(response - split).max() < TOLERANCE:
                return response
            split = 0.5 * (split + response)
        return split
