"""A multi-cell downlink simulator for slicing, in NumPy; it knows nothing of learning."""

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.builtin import BUILT_IN, built_in, hexagonal
from slicing_rllib.radio.kpis import Phase, StepKpis
from slicing_rllib.radio.queueing import SATURATION
from slicing_rllib.radio.scenario import (
    IndoorSpec,
    MobilitySpec,
    RadioSpec,
    Scenario,
    SlaGroup,
    SliceSla,
    SliceSpec,
    TrafficSpec,
)
from slicing_rllib.radio.simulator import Simulator
from slicing_rllib.radio.sites import (
    HexagonalCluster,
    HexagonalGrid,
    MastSpec,
    SiteList,
    SiteSpec,
)
from slicing_rllib.radio.traffic import SyntheticMask, TraceMask

__all__ = [
    "BUILT_IN",
    "SATURATION",
    "ColumnAntenna",
    "HexagonalCluster",
    "HexagonalGrid",
    "IndoorSpec",
    "MastSpec",
    "MobilitySpec",
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
    "TraceMask",
    "TrafficSpec",
    "built_in",
    "hexagonal",
]
