"""What a policy may look at, and what it answers: trained policies and baselines alike."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.radio import Simulator, StepKpis


class DecisionView(NamedTuple):
    """What is known when the next split is decided."""

    obs: Float32[np.ndarray, "cell obs"]
    kpis: StepKpis
    """KPIs of the last step."""
    simulator: Simulator
    """Stands at the step to be decided: for policies entitled to know it (oracle, true demand)."""


@runtime_checkable
class Policy(Protocol):
    """Decides every cell's split at once."""

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier per slice, non-negative, each row summing to 1."""
        ...
