"""From what a traffic file counts to the share of a slice's UEs that is active."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.slice_spec import SliceSpec

Unit = Literal["share", "percent", "users", "mbps", "relative"]
UNIT_WORDS: dict[str, str] = {
    "share": "share of active UEs, 0 to 1",
    "percent": "percentage of active UEs, 0 to 100",
    "users": "number of active UEs",
    "mbps": "traffic of a slice in a cell, Mbit/s",
    "relative": "any quantity, divided by its largest value in the file",
}


def compute_share_per_unit(
    unit: Unit, slices: tuple[SliceSpec, ...], values: Float[np.ndarray, "row cell slice"]
) -> Float[np.ndarray, " slice"]:
    """The share of active UEs that one unit of a value means, for each slice."""
    users = np.array([spec.users for spec in slices], float)
    match unit:
        case "share":
            return np.ones(len(slices))
        case "percent":
            return np.full(len(slices), 0.01)
        case "users":
            return 1 / users
        case "mbps":
            return 1e3 / (users * np.array([spec.traffic.rate_kbps for spec in slices]))
        case "relative":
            largest = float(np.nanmax(values, initial=0.0))
            return np.full(len(slices), 1 / largest if largest > 0 else 1.0)


def suggest_unit(unit: Unit, largest: float, largest_share: float) -> str:
    """Advice, as the end of a message, for values that make shares above 1."""
    fits = f"scale: {0.99 / largest_share:.2g} fits all values"
    if unit == "share" and largest > 1:
        kinds = "percent, users, mbps or relative" if largest <= 100 else "users, mbps or relative"
        return f"; unit: {kinds} says what values above 1 mean"
    if unit in ("users", "mbps"):
        return f"; more than the slice's UEs: raise its users, or {fits}"
    return f"; {fits}"
