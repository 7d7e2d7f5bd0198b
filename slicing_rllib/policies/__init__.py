"""Trained policies in NumPy: what evaluation and serving need, without PyTorch and Ray.

`TrainedPolicy` runs the actors of all cells, `PretrainedPolicy` the actor that comes with the
package, and `CellPolicy` one cell's policy from measured KPIs to shares; `list_layers` reads a
network from saved weights.
"""

from slicing_rllib.policies.cell_policy import (
    CellPolicy,
    KpiRange,
    PolicyError,
    describe_policy,
    load_policy,
    parse_policy,
    select_actor,
)
from slicing_rllib.policies.encoder import KPI_SPECS, REQUIRED_KPIS, make_encoders
from slicing_rllib.policies.trained_policy import (
    BasePolicySplit,
    PretrainedActor,
    PretrainedCurves,
    PretrainedPolicy,
    TrainedPolicy,
    list_layers,
    load_pretrained,
    save_pretrained,
)

__all__ = [
    "KPI_SPECS",
    "REQUIRED_KPIS",
    "BasePolicySplit",
    "CellPolicy",
    "KpiRange",
    "PolicyError",
    "PretrainedActor",
    "PretrainedCurves",
    "PretrainedPolicy",
    "TrainedPolicy",
    "describe_policy",
    "list_layers",
    "load_policy",
    "load_pretrained",
    "make_encoders",
    "parse_policy",
    "save_pretrained",
    "select_actor",
]
