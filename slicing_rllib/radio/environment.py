"""Propagation environments: matching path loss, line-of-sight probability and shadowing."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from slicing_rllib.radio.propagation import (
    UMA_36873,
    UMA_38901,
    UMI_36873,
    UMI_38901,
    WINNER_B1,
    WINNER_C2,
    Metres,
    breakpoint_distance_m,
    los_probability,
)

Distances = Float[np.ndarray, "*points"]


@runtime_checkable
class PathLoss(Protocol):
    """Path loss in dB over a 3D distance, with (`los_db`) and without (`nlos_db`) line of sight."""

    def los_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances: ...

    def nlos_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances: ...


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A path-loss model with the statistics of its line of sight and shadowing."""

    path_loss: PathLoss
    los_decay_m: float
    """Distance D over which the probability of line of sight decays."""
    los_sigma_db: float
    """Standard deviation of shadowing with line of sight, up to the breakpoint distance."""
    far_los_sigma_db: float
    """Standard deviation of shadowing with line of sight, beyond the breakpoint distance."""
    nlos_sigma_db: float
    """Standard deviation of shadowing without line of sight."""
    los_correlation_m: float
    """Correlation distance of shadowing with line of sight, and of the line of sight itself."""
    nlos_correlation_m: float
    """Correlation distance of shadowing without line of sight."""
    indoor_sigma_db: float = 7.0
    """Standard deviation of shadowing for indoor UEs; only a static drop uses it."""
    has_tall_ue_los: bool = False
    """Whether UEs above 13 m have line of sight more often, as in TR 36.873's 3D-UMa."""

    def los_probability(self, horizontal_m: Distances) -> Distances:
        """Probability of line of sight at street level, by horizontal distance."""
        return los_probability(horizontal_m, self.los_decay_m)

    def path_loss_db(
        self,
        los: Bool[np.ndarray, "*points"],
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances:
        """Path loss of links with (`los`) and without line of sight."""
        los_db, nlos_db = (
            model(
                distance_m,
                bs_height_m=bs_height_m,
                ue_height_m=ue_height_m,
                carrier_hz=carrier_hz,
                environment_height_m=environment_height_m,
            )
            for model in (self.path_loss.los_db, self.path_loss.nlos_db)
        )
        return np.where(los, los_db, nlos_db)

    def shadowing_sigma_db(
        self,
        los: Bool[np.ndarray, "*points"],
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
        has_tall_ue_los=True,
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
"""The environments by name.

Sources: WINNER+ D5.3; TR 38.901, tables 7.4.1-1, 7.4.2-1 and 7.5-6; TR 36.873, tables 7.2-1 and
7.3-6.
"""
