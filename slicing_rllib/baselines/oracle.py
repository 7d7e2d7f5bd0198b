"""What perfect knowledge of the step is worth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import max_min_split, needed_service
from slicing_rllib.env import DecisionView
from slicing_rllib.radio import Scenario, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]

TOLERANCE = 1e-3
"""Change of any share between two rounds at which no cell has a reason to move."""
MAX_ROUNDS = 20


def best_response(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Each cell's best split against the interference that `kpis` saw."""
    return max_min_split(kpis.required_share, needed_service(kpis, scenario))


@dataclass(frozen=True)
class OracleO1:
    """Knows the step's users and rates; answers the interference of last step's splits."""

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return best_response(view.simulator.evaluate(view.kpis.prb_ratio), self.scenario)


@dataclass(frozen=True)
class Oracle:
    """Best responses repeated until no cell would move: a Nash point (O1-BR).

    Rounds are averaged with the last split from the second on, which damps the cycling of
    neighbours that answer each other; it stops after `MAX_ROUNDS` wherever it is.
    """

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        split = best_response(view.simulator.evaluate(view.kpis.prb_ratio), self.scenario)
        for _ in range(MAX_ROUNDS):
            answer = best_response(view.simulator.evaluate(split), self.scenario)
            if np.abs(answer - split).max() < TOLERANCE:
                return answer
            split = 0.5 * (split + answer)
        return split
