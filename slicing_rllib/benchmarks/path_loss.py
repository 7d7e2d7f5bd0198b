"""Path loss at single distances, compared with published values."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.benchmarks.rows import Row, compare_with_expected
from slicing_rllib.radio.propagation import WINNER_B1, WINNER_C2
from slicing_rllib.radio.tr38901 import UMA_38901

TOLERANCE_DB = 0.05
WINNER_SOURCE = "WINNER+ D5.3"
NS3_SOURCE = "ns-3"
"""TR 38.901 as the test suite of the ns-3 simulator has it."""
WINNER_M = np.array([100.0, 250.0, 500.0, 1000.0])
TR38901_M = np.array([10.0, 100.0, 1000.0, 5000.0])
"""Horizontal distances."""
C2 = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
B1 = {"bs_height_m": 10.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
UMA = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 5e9}


class Curve(NamedTuple):
    """A path loss model at some distances."""

    name: str
    distance_m: Float[np.ndarray, " distance"]
    loss_db: Float[np.ndarray, " distance"]
    expected_db: tuple[float, ...]
    source: str


def compare_path_loss() -> Iterator[Row]:
    """Yields the loss of each model at each distance."""
    for curve in _compute_curves():
        for distance_m, loss_db, expected_db in zip(
            curve.distance_m, curve.loss_db, curve.expected_db, strict=True
        ):
            name = f"calibration.path_loss.{curve.name}.{distance_m:.0f}_m"
            yield compare_with_expected(
                name, loss_db, "dB", expected_db, TOLERANCE_DB, curve.source
            )


def _compute_curves() -> list[Curve]:
    slant_m = np.hypot(TR38901_M, UMA["bs_height_m"] - UMA["ue_height_m"])
    return [
        Curve(
            "winner_c2_los",
            WINNER_M,
            WINNER_C2.los_db(WINNER_M, **C2),
            (85.30, 95.65, 104.61, 116.65),
            WINNER_SOURCE,
        ),
        Curve(
            "winner_c2_nlos",
            WINNER_M,
            WINNER_C2.nlos_db(WINNER_M, **C2),
            (107.56, 121.79, 132.54, 143.30),
            WINNER_SOURCE,
        ),
        Curve(
            "winner_b1_los",
            WINNER_M,
            WINNER_B1.los_db(WINNER_M, **B1),
            (80.70, 93.30, 105.34, 117.38),
            WINNER_SOURCE,
        ),
        Curve(
            "tr38901_uma_los",
            TR38901_M,
            UMA_38901.los_db(slant_m, **UMA),
            (72.938, 86.2362, 109.7252, 137.6794),
            NS3_SOURCE,
        ),
        Curve(
            "tr38901_uma_nlos",
            TR38901_M,
            UMA_38901.nlos_db(slant_m, **UMA),
            (82.5131, 106.1356, 144.7641, 172.0753),
            NS3_SOURCE,
        ),
    ]
