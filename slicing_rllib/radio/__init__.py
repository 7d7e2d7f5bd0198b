"""A multi-cell downlink simulator for network slicing, in NumPy; see README.md.

It does not depend on the environment and the learning code.
"""

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.builtin import (
    BUILT_IN,
    draw_scenario,
    make_hexagonal_scenario,
    make_scenario,
    read_scenario,
    resolve_scenario,
)
from slicing_rllib.radio.kpis import SATURATION, Phase, StepKpis
from slicing_rllib.radio.scenario import Scenario, SlaGroup, SliceSla
from slicing_rllib.radio.simulator import Simulator
from slicing_rllib.radio.sites import (
    Area,
    HexagonalCluster,
    HexagonalGrid,
    MastSpec,
    SiteList,
    SiteSpec,
)
from slicing_rllib.radio.specs import (
    IndoorSpec,
    MobilitySpec,
    OwnNetwork,
    RadioSpec,
    SliceSpec,
    SystemLevel,
    TrafficSpec,
    TtiLevel,
)
from slicing_rllib.radio.traffic import Mask, OwnMask, SyntheticMask, TraceMask

__all__ = [
    "BUILT_IN",
    "SATURATION",
    "Area",
    "ColumnAntenna",
    "HexagonalCluster",
    "HexagonalGrid",
    "IndoorSpec",
    "Mask",
    "MastSpec",
    "MobilitySpec",
    "OwnMask",
    "OwnNetwork",
    "Phase",
    "RadioSpec",
    "Scenario",
    "SectorAntenna",
    "Simulator",
    "SiteList",
    "SiteSpec",
    "SlaGroup",
    "SliceSla",
    "SliceSpec",
    "StepKpis",
    "SyntheticMask",
    "SystemLevel",
    "TraceMask",
    "TrafficSpec",
    "TtiLevel",
    "draw_scenario",
    "make_hexagonal_scenario",
    "make_scenario",
    "read_scenario",
    "resolve_scenario",
]
