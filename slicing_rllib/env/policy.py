"""The interface of policies that decide for all cells: trained policies and baselines."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.radio import Simulator, StepKpis


class DecisionView(NamedTuple):
    """What is known when the split of the next step is decided."""

    obs: Float32[np.ndarray, "cell obs"]
    """Observations after the last step."""
    kpis: StepKpis
    """KPIs of the last step."""
    simulator: Simulator
    """The simulator before the step: for policies that may know the step itself, like the oracle.

    Such policies cannot run on a real network.
    """


@runtime_checkable
class Policy(Protocol):
    """Decides the splits of all cells."""

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Each slice's share of its cell's carrier: non-negative, with a sum of 1 per cell."""
        ...
