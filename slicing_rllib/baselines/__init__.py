"""Baseline policies: heuristics, persistence (a model-based policy) and oracles.

`traffic_aware`, `sla_weighted` and all oracles know the step that they decide and cannot run on a
real network; `equal`, `best_static` and `persistence` can. `oracle` maximises the reward,
`oracle_throughput` the throughput satisfaction of the worst slice; `oracle_delay` minimises the
largest delay.
"""

import numpy as np

from slicing_rllib.baselines.heuristics import (
    Equal,
    Persistence,
    SlaWeighted,
    Static,
    TrafficAware,
)
from slicing_rllib.baselines.oracle import Oracle, OracleDelay, OracleO1, OracleThroughput
from slicing_rllib.baselines.static_split import fit_static
from slicing_rllib.env import Policy
from slicing_rllib.radio import Scenario

BASELINES = (
    "equal",
    "traffic_aware",
    "sla_weighted",
    "best_static",
    "persistence",
    "oracle_o1",
    "oracle",
    "oracle_throughput",
    "oracle_delay",
)

METRIC_ORACLES = ("oracle_throughput", "oracle_delay")
"""Oracles of a single metric. They take long and are evaluated only where they are named."""


def make_policy(
    name: str, scenario: Scenario, rng: np.random.Generator, *, map_seed: int
) -> Policy:
    """The baseline with that name.

    Only `best_static` uses `rng` and `map_seed`, for the traffic on which it is fitted.
    Raises: ValueError for a name that is not in BASELINES.
    """
    match name:
        case "equal":
            return Equal()
        case "traffic_aware":
            return TrafficAware()
        case "sla_weighted":
            return SlaWeighted(scenario)
        case "best_static":
            return fit_static(scenario, rng, map_seed=map_seed)
        case "persistence":
            return Persistence(scenario)
        case "oracle_o1":
            return OracleO1(scenario)
        case "oracle":
            return Oracle(scenario)
        case "oracle_throughput":
            return OracleThroughput(scenario)
        case "oracle_delay":
            return OracleDelay()
        case _:
            raise ValueError(f"policy: expected one of {', '.join(BASELINES)}, got {name!r}")


__all__ = [
    "BASELINES",
    "METRIC_ORACLES",
    "Equal",
    "Oracle",
    "OracleDelay",
    "OracleO1",
    "OracleThroughput",
    "Persistence",
    "SlaWeighted",
    "Static",
    "TrafficAware",
    "fit_static",
    "make_policy",
]
