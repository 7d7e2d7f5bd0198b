"""Surroundings by name: path loss, line of sight and shadowing that belong together."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.propagation import (
    WINNER_B1,
    WINNER_C2,
    Metres,
    breakpoint_distance_m,
    los_probability,
)
from slicing_rllib.radio.tr38901 import UMA_36873, UMA_38901, UMI_36873, UMI_38901

Distances = Float[np.ndarray, "*points"]


@runtime_checkable
class PathLoss(Protocol):
    """Loss in dB over a 3D distance, with and without line of sight."""

    def los_db(
        self, distance_m: Distances, *, bs_height_m: float, ue_height_m: Metres, carrier_hz: float
    ) -> Distances: ...

    def nlos_db(
        self, distance_m: Distances, *, bs_height_m: float, ue_height_m: Metres, carrier_hz: float
    ) -> Distances: ...


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A path loss with the statistics of its line of sight and shadowing."""

    path_loss: PathLoss
    los_decay_m: float
    los_sigma_db: float
    far_los_sigma_db: float
    """Beyond the breakpoint."""
    nlos_sigma_db: float
    los_correlation_m: float
    nlos_correlation_m: float
    indoor_sigma_db: float = 7.0
    tall_users: bool = False
    """Whether UEs above 13 m see the base station more often, as in TR 36.873's 3D-UMa."""

    def los_probability(self, horizontal_m: Distances) -> Distances:
        """Of UEs at street level."""
        return los_probability(horizontal_m, self.los_decay_m)

    def shadowing_sigma_db(
        self,
        los: np.ndarray,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
    ) -> Distances:
        """Standard deviation of shadowing outdoors."""
        corner_m = breakpoint_distance_m(bs_height_m, ue_height_m, carrier_hz)
        near_db = np.where(distance_m < corner_m, self.los_sigma_db, self.far_los_sigma_db)
        return np.where(los, near_db, self.nlos_sigma_db).astype(np.float64)


ENVIRONMENTS: dict[str, Environment] = {
    "winner_c2": Environment(
        path_loss=WINNER_C2,
        los_decay_m=63,
        los_sigma_db=4,
        far_los_sigma_db=6,
        nlos_sigma_db=8,
        los_correlation_m=45,
        nlos_correlation_m=50,
    ),
    "winner_b1": Environment(
        path_loss=WINNER_B1,
        los_decay_m=36,
        los_sigma_db=3,
        far_los_sigma_db=3,
        nlos_sigma_db=4,
        los_correlation_m=14,
        nlos_correlation_m=12,
    ),
    "tr38901_uma": Environment(
        path_loss=UMA_38901,
        los_decay_m=63,
        los_sigma_db=4,
        far_los_sigma_db=4,
        nlos_sigma_db=6,
        los_correlation_m=37,
        nlos_correlation_m=50,
    ),
    "tr38901_umi": Environment(
        path_loss=UMI_38901,
        los_decay_m=36,
        los_sigma_db=4,
        far_los_sigma_db=4,
        nlos_sigma_db=7.82,
        los_correlation_m=10,
        nlos_correlation_m=13,
    ),
    "tr36873_uma": Environment(
        path_loss=UMA_36873,
        los_decay_m=63,
        los_sigma_db=4,
        far_los_sigma_db=4,
        nlos_sigma_db=6,
        los_correlation_m=37,
        nlos_correlation_m=50,
        tall_users=True,
    ),
    "tr36873_umi": Environment(
        path_loss=UMI_36873,
        los_decay_m=36,
        los_sigma_db=3,
        far_los_sigma_db=3,
        nlos_sigma_db=4,
        los_correlation_m=10,
        nlos_correlation_m=13,
    ),
}
"""Sources: WINNER+ D5.3; TR 38.901, tables 7.4.1-1, 7.4.2-1, 7.5-6; TR 36.873, 7.2-1, 7.3-6."""
