"""A multi-cell downlink simulator for network slicing, in NumPy; see README.md.

It does not depend on the environment and the learning code.
"""

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.area import Area
from slicing_rllib.radio.builtin import BUILT_IN, make_hexagonal_scenario, make_scenario
from slicing_rllib.radio.kpis import Phase, StepKpis
from slicing_rllib.radio.queueing import SATURATION
from slicing_rllib.radio.radio_spec import RadioSpec
from slicing_rllib.radio.random_scenario import draw_scenario
from slicing_rllib.radio.scenario import Scenario, SlaGroup, SliceSla
from slicing_rllib.radio.simulator import Simulator
from slicing_rllib.radio.sites import (
    HexagonalCluster,
    HexagonalGrid,
    MastSpec,
    SiteList,
    SiteSpec,
)
from slicing_rllib.radio.slice_spec import SliceSpec, TrafficSpec
from slicing_rllib.radio.traces import TraceMask
from slicing_rllib.radio.traffic import Mask, MaskTarget, SyntheticMask
from slicing_rllib.radio.ue_spec import IndoorSpec, MobilitySpec

__all__ = [
    "BUILT_IN",
    "SATURATION",
    "Area",
    "ColumnAntenna",
    "HexagonalCluster",
    "HexagonalGrid",
    "IndoorSpec",
    "Mask",
    "MaskTarget",
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
    "draw_scenario",
    "make_hexagonal_scenario",
    "make_scenario",
]
