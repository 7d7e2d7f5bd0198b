"""The policies that answer, in ONNX Runtime: one graph for all policies of the same form."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from slicing_rllib.policies import CellPolicy, PolicyError
from slicing_rllib.serving.onnx_graph import (
    CELL,
    LARGEST_DIFFERENCE,
    NEIGHBOUR_LOAD,
    OBSERVATION,
    SHARES,
    SLA_DELAY,
    SLA_THROUGHPUT,
    draw_samples,
    find_group,
    input_name,
    make_graph,
    make_inputs,
    open_session,
    reads_sla,
)
from slicing_rllib.serving.requests import KPI_NAMES

RANGE_MARGIN = 1.0
"""A KPI is far outside if it is off the recorded range by more than this times its width."""
LEAST_WIDTH = 0.5
"""Least width of a range, as a share of its largest absolute value."""
CHECKED_ROWS = 8
"""Random KPIs per policy on which the graph is compared with NumPy when it is loaded."""

Table = Float[np.ndarray, "cell slice kpi"]


class SlaRows(NamedTuple):
    """The SLA of each cell of a request."""

    throughput_mbps: Float[np.ndarray, "cell slice"]
    delay_ms: Float[np.ndarray, "cell slice"]


class GroupAnswer(NamedTuple):
    """What a group's graph says, one row per cell."""

    shares: Float32[np.ndarray, "cell slice"]
    observation: Float32[np.ndarray, "cell obs"]


class PolicyGroup:
    """Policies of the same form, which one ONNX graph computes together.

    Raises: PolicyError if the graph differs from NumPy.
    """

    def __init__(self, policies: Sequence[CellPolicy]) -> None:
        self.policies = policies
        self.encoder = policies[0].encoder
        self.rows = {policy.encoder.cell: row for row, policy in enumerate(policies)}
        self.columns = [KPI_NAMES.index(name) for name in self.encoder.required_kpis]
        self.low, self.high = _find_limits(policies)
        self._reads_sla = reads_sla(policies[0])
        self._session = open_session(make_graph(policies))
        rng = np.random.default_rng(0)
        for row, policy in enumerate(policies):
            self._check(row, policy, rng)

    def compute(
        self,
        rows: Sequence[int],
        table: Table,
        neighbour_load: Float[np.ndarray, "cell neighbour slice"],
        sla: SlaRows,
    ) -> GroupAnswer:
        """Shares and observations of some of the group's cells.

        Args:
            rows: which policies.
            table: their KPIs.
            neighbour_load: load of their neighbours, zeros in unused slots.
            sla: their SLAs.
        """
        inputs: dict[str, np.ndarray] = {
            input_name(KPI_NAMES[column]): table[:, :, column] for column in self.columns
        }
        if self.encoder.message != "none" and self.encoder.message_slots:
            inputs[NEIGHBOUR_LOAD] = neighbour_load
        if self._reads_sla:
            inputs[SLA_THROUGHPUT], inputs[SLA_DELAY] = sla
        if len(self.policies) > 1:
            inputs[CELL] = np.array(rows, np.int64)
        shares, observation = self._session.run([SHARES, OBSERVATION], inputs)
        return GroupAnswer(np.asarray(shares), np.asarray(observation))

    def _check(self, row: int, policy: CellPolicy, rng: np.random.Generator) -> None:
        """Raises: PolicyError if the graph differs from NumPy."""
        columns, load = draw_samples(policy, rng, CHECKED_ROWS)
        inputs = make_inputs(policy, columns, load)
        if len(self.policies) > 1:
            inputs[CELL] = np.full(CHECKED_ROWS, row)
        (shares,) = self._session.run([SHARES], inputs)
        difference = float(np.abs(np.asarray(shares) - policy.decide(columns, load)).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise PolicyError(f"policy {policy.label}: ONNX and NumPy differ by {difference:g}")

    def find_far_values(
        self, rows: Sequence[int], table: Table
    ) -> Bool[np.ndarray, "cell slice read"]:
        """Which KPIs are far outside of what was recorded where the policies were trained."""
        values = table[:, :, self.columns]
        return (values < self.low[rows]) | (values > self.high[rows])


class PolicySet:
    """The policies of all cells, by cell. Raises: PolicyError."""

    def __init__(self, policies: Mapping[str, CellPolicy]) -> None:
        self.policies = dict(policies)
        members: dict[tuple[object, ...], list[CellPolicy]] = {}
        for policy in self.policies.values():
            members.setdefault(find_group(policy), []).append(policy)
        self.groups = [PolicyGroup(group) for group in members.values()]
        self.group_of = {cell: group for group in self.groups for cell in group.rows}
        self.reads_messages = any(p.encoder.neighbours for p in self.policies.values())


def _find_limits(
    policies: Sequence[CellPolicy],
) -> tuple[Float[np.ndarray, "cell slice kpi"], Float[np.ndarray, "cell slice kpi"]]:
    """Limits of KPIs, infinite where nothing was recorded."""
    encoder = policies[0].encoder
    shape = len(policies), len(encoder.slices), len(encoder.required_kpis)
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    for row, policy in enumerate(policies):
        for column, name in enumerate(encoder.required_kpis):
            for slice_row, kpi in enumerate(policy.recorded.get(name, ())):
                scale = LEAST_WIDTH * max(abs(kpi.minimum), abs(kpi.maximum))
                margin = RANGE_MARGIN * max(kpi.maximum - kpi.minimum, scale)
                low[row, slice_row, column] = kpi.minimum - margin
                high[row, slice_row, column] = kpi.maximum + margin
    return low, high
