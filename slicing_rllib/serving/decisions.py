"""From a request to decisions: KPIs to arrays, neighbours' messages, policies and fallbacks.

Shares for cells whose policy cannot or must not answer.

What a candidate version would have answered: differences from the live version.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import max_min_split
from slicing_rllib.env.rewards import needed_share, offered_share
from slicing_rllib.policies import CellPolicy
from slicing_rllib.policies.baselines import divide_in_proportion
from slicing_rllib.policies.encoder import BASE_POLICY_KPIS
from slicing_rllib.serving.load_reports import LoadReport, Reports
from slicing_rllib.serving.policy_set import GroupAnswer, PolicyGroup, PolicySet, SlaRows
from slicing_rllib.serving.requests import KPI_NAMES, CellReport, DecisionRequest, stack_tables


class Reason(StrEnum):
    """Why a policy does not answer."""

    UNKNOWN_CELL = "unknown_cell"
    """No policy is for this cell."""
    STALE_KPIS = "stale_kpis"
    """The cell's KPIs are too old, or from the future."""
    MISSING_NEIGHBOURS = "missing_neighbours"
    """A neighbour that the message needs has reported nothing."""
    STALE_NEIGHBOURS = "stale_neighbours"
    """A neighbour's last report is too old."""
    OUTSIDE_TRAINING = "outside_training"
    """A KPI is far outside of what was recorded where the policy was trained."""
    SLA_NOT_OBSERVED = "sla_not_observed"
    """The SLA is another than in training, and the policy cannot see it."""
    POLICY_FAILED = "policy_failed"
    """The policy's answer is not finite."""


class Method(StrEnum):
    """What answers instead."""

    BASE_POLICY = "base_policy"
    """The split that was best in the last interval."""
    TRAFFIC_PROPORTIONAL = "traffic_proportional"
    """Shares in proportion to offered traffic, or else to load."""
    EQUAL = "equal"
    """Equal shares."""


class Substitute(NamedTuple):
    """Shares of one cell and where they come from."""

    shares: Float[np.ndarray, " slice"]
    method: Method


def substitute(
    table: Float[np.ndarray, "slice kpi"],
    sla_throughput_mbps: Float[np.ndarray, " slice"] | None = None,
    sla_delay_ms: Float[np.ndarray, " slice"] | None = None,
) -> Substitute:
    """The best shares that the KPIs of a cell allow without its policy.

    Args:
        table: the cell's KPIs; NaN for those that are not there.
        sla_throughput_mbps: required throughput; None for a cell without SLA.
        sla_delay_ms: highest permitted delay; None for a cell without SLA.
    """
    kpis = {name: table[:, column] for column, name in enumerate(KPI_NAMES)}
    if sla_throughput_mbps is not None and sla_delay_ms is not None:
        shares = _split_by_base_policy(kpis, sla_throughput_mbps, sla_delay_ms)
        if np.isfinite(shares).all():
            return Substitute(shares, Method.BASE_POLICY)
    for name in ("demand_mbps", "load"):
        if np.isfinite(kpis[name]).all() and kpis[name].sum() > 0.0:
            shares = divide_in_proportion(kpis[name][None])[0]
            return Substitute(shares, Method.TRAFFIC_PROPORTIONAL)
    return Substitute(np.full(len(table), 1.0 / len(table)), Method.EQUAL)


def _split_by_base_policy(
    kpis: dict[str, np.ndarray], sla_throughput_mbps: np.ndarray, sla_delay_ms: np.ndarray
) -> Float[np.ndarray, " slice"]:
    """NaN where a KPI is missing or the model has no answer, as for a throughput of zero."""
    throughput, delay, share, demand, inverse = (kpis[name] for name in BASE_POLICY_KPIS)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        offered = offered_share(demand, inverse)
        needed = needed_share(share, offered, throughput, delay, sla_throughput_mbps, sla_delay_ms)
        shares = max_min_split(offered[None], needed[None])[0]
    known = np.isfinite(offered).all() and np.isfinite(needed).all()
    return shares if known else np.full(len(share), np.nan)


LOAD = KPI_NAMES.index("load")
MAX_NAMES_IN_MESSAGE = 3


class RequestError(ValueError):
    """A request cannot be answered. The message is one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Decision:
    """The shares of one cell."""

    slices: tuple[str, ...]
    shares: list[float]
    """In the order of the slices; their sum is 1."""
    policy: CellPolicy | None
    """The policy that the cell has; None for an unknown cell."""
    age_s: float
    """Age of the cell's KPIs."""
    neighbours_age_s: float | None
    """Age of the oldest report of a neighbour; None if the policy reads none."""
    table: Float[np.ndarray, "slice kpi"]
    """The KPIs that the decision rests on."""
    reason: Reason | None = None
    """Why the policy did not answer; None if it did."""
    method: Method | None = None
    """What answered instead."""
    detail: str = ""
    """More about the reason."""


@dataclass(frozen=True)
class _Case:
    """One cell of a request that has a policy."""

    cell: str
    report: CellReport
    row: int
    table: list[list[float | None]]
    sla: tuple[tuple[float, ...], tuple[float, ...]]
    load: list[list[float]]
    """Of the neighbours, zeros where a report is missing."""
    age_s: float
    neighbours_age_s: float | None
    reason: Reason | None
    detail: str


def list_new_reports(request: DecisionRequest, policies: PolicySet, now: datetime) -> Reports:
    """What a request tells about the load of cells that have policies."""
    found: dict[str, LoadReport] = {}
    for cell, report in request.cells.items():
        if cell not in policies.policies:
            continue
        loads = {name: kpis.load for name, kpis in report.slices.items()}
        if report.off or None not in loads.values():
            measured_at = (report.measured_at or now).timestamp()
            found[cell] = LoadReport(measured_at, None if report.off else loads)  # pyright: ignore[reportArgumentType]
    return found


def list_missing_neighbours(request: DecisionRequest, policies: PolicySet) -> set[str]:
    """Neighbours whose reports the policies need and the request does not contain."""
    needed: set[str] = set()
    for cell in request.cells:
        if policy := policies.policies.get(cell):
            needed.update(policy.encoder.neighbours)
    return needed - request.cells.keys()


def decide(
    request: DecisionRequest,
    policies: PolicySet,
    reports: Reports,
    now: datetime,
    max_age_s: float,
) -> dict[str, Decision]:
    """The decision of each cell that is on the air.

    Args:
        request: KPIs of cells.
        policies: the policies that answer.
        reports: loads of this request and those of neighbours outside of it.
        now: the present.
        max_age_s: age above which KPIs and reports are stale.

    Raises: RequestError for unknown cells, slices and missing KPIs.
    """
    _refuse_unknown(request, policies)
    groups: dict[int, list[_Case]] = {}
    decisions: dict[str, Decision] = {}
    for cell, report in request.cells.items():
        if report.off:
            continue
        if group := policies.group_of.get(cell):
            case = _make_case(cell, report, group, request, reports, now, max_age_s)
            groups.setdefault(policies.groups.index(group), []).append(case)
        else:
            decisions[cell] = _decide_unknown(report, now)
    for number, cases in groups.items():
        decisions |= _decide_group(policies.groups[number], cases)
    return {cell: decisions[cell] for cell in request.cells if cell in decisions}


def _refuse_unknown(request: DecisionRequest, policies: PolicySet) -> None:
    unknown = [cell for cell in request.cells if cell not in policies.policies]
    if unknown and request.unknown_cells == "refuse":
        names = ", ".join(unknown[:MAX_NAMES_IN_MESSAGE])
        more = f" and {len(unknown) - MAX_NAMES_IN_MESSAGE} more" if len(unknown) > 3 else ""
        raise RequestError(404, f"no policy for {names}{more}; GET /v1/policies lists the cells")


def _make_case(
    cell: str,
    report: CellReport,
    group: PolicyGroup,
    request: DecisionRequest,
    reports: Reports,
    now: datetime,
    max_age_s: float,
) -> _Case:
    row = group.rows[cell]
    encoder = group.policies[row].encoder
    if report.slices.keys() != set(encoder.slices):
        expected = ", ".join(encoder.slices)
        raise RequestError(422, f"cells.{cell}.slices: expected exactly {expected}")
    table = report.table(encoder.slices)
    for values, name in zip(table, encoder.slices, strict=True):
        for column in group.columns:
            if values[column] is None:
                where = f"cells.{cell}.slices.{name}.{KPI_NAMES[column]}"
                raise RequestError(422, f"{where}: the policy needs this KPI")
    sla = _find_sla(group.policies[row], request)
    age_s = report.age_s(now)
    load, neighbours_age_s, reason, detail = _form_message(
        group.policies[row], reports, now.timestamp(), max_age_s
    )
    own = encoder.sla_throughput_mbps, encoder.sla_delay_ms
    if encoder.observation == "paper" and sla != own:
        reason, detail = Reason.SLA_NOT_OBSERVED, "the policy was trained for its own SLA"
    if abs(age_s) > max_age_s:
        reason, detail = Reason.STALE_KPIS, f"KPIs are {age_s:.3g} s old, expected {max_age_s:g} s"
    return _Case(cell, report, row, table, sla, load, age_s, neighbours_age_s, reason, detail)


def _find_sla(
    policy: CellPolicy, request: DecisionRequest
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Required throughput and permitted delay by slice."""
    encoder = policy.encoder
    if not request.a1_policies:
        return encoder.sla_throughput_mbps, encoder.sla_delay_ms
    pairs = [
        request.a1_policies[name].override_sla(throughput, delay)
        if name in request.a1_policies
        else (throughput, delay)
        for name, throughput, delay in zip(
            encoder.slices, encoder.sla_throughput_mbps, encoder.sla_delay_ms, strict=True
        )
    ]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def _form_message(
    policy: CellPolicy, reports: Reports, now: float, max_age_s: float
) -> tuple[list[list[float]], float | None, Reason | None, str]:
    """Loads of the neighbours in the order of the message, their age, and what is wrong."""
    encoder = policy.encoder
    zeros = [0.0] * len(encoder.slices)
    load = [zeros] * encoder.message_slots
    if not encoder.neighbours:
        return load, None, None, ""
    oldest, missing = now, []
    for slot, neighbour in enumerate(encoder.neighbours):
        report = reports.get(neighbour)
        if report is None or not (report.load is None or report.load.keys() >= set(encoder.slices)):
            missing.append(neighbour)
            continue
        if report.load is not None:
            load[slot] = [report.load[name] for name in encoder.slices]
        oldest = min(oldest, report.measured_at)
    age_s = now - oldest
    if missing:
        names = ", ".join(missing[:MAX_NAMES_IN_MESSAGE])
        return load, age_s, Reason.MISSING_NEIGHBOURS, f"no report of {names}"
    if age_s > max_age_s:
        detail = f"a neighbour's report is {age_s:.3g} s old, expected {max_age_s:g} s"
        return load, age_s, Reason.STALE_NEIGHBOURS, detail
    return load, age_s, None, ""


def _decide_unknown(report: CellReport, now: datetime) -> Decision:
    slices = tuple(report.slices)
    table = stack_tables([report.table(slices)])[0]
    answer = substitute(table)
    return Decision(
        slices,
        answer.shares.tolist(),
        None,
        report.age_s(now),
        None,
        table,
        Reason.UNKNOWN_CELL,
        answer.method,
        "no policy for this cell",
    )


def _decide_group(group: PolicyGroup, cases: Sequence[_Case]) -> Mapping[str, Decision]:
    rows = [case.row for case in cases]
    table = stack_tables([case.table for case in cases])
    load = np.array([case.load for case in cases], float)
    load = load.reshape(len(cases), group.encoder.message_slots, len(group.encoder.slices))
    sla = SlaRows(*(np.array([case.sla[part] for case in cases], float) for part in range(2)))
    answer = group.compute(rows, table, load, sla)
    far = group.find_far_values(rows, table)
    is_far = [bool(rows.any()) for rows in far]
    sums = answer.shares.sum(axis=1)
    values = np.column_stack([sums, answer.observation])
    is_finite = [bool(np.isfinite(row).all()) for row in values]
    decisions: dict[str, Decision] = {}
    for number, case in enumerate(cases):
        reason, detail = case.reason, case.detail
        if not is_finite[number] and reason is None:
            reason, detail = Reason.POLICY_FAILED, "the policy's answer is not finite"
        elif is_far[number] and reason is None:
            first = int(np.flatnonzero(far[number].ravel())[0])
            slice_row, column = divmod(first, far.shape[2])
            kpi, name = KPI_NAMES[group.columns[column]], group.encoder.slices[slice_row]
            detail = f"{kpi} of {name} is far from what the policy has met"
            reason = Reason.OUTSIDE_TRAINING
        decisions[case.cell] = _conclude(group, case, table[number], answer, number, reason, detail)
    return decisions


def _conclude(
    group: PolicyGroup,
    case: _Case,
    table: np.ndarray,
    answer: GroupAnswer,
    number: int,
    reason: Reason | None,
    detail: str,
) -> Decision:
    method, shares = None, answer.shares[number].tolist()
    if reason is not None:
        found = substitute(table, *(np.array(part, float) for part in case.sla))
        method, shares = found.method, found.shares.tolist()
    return Decision(
        group.encoder.slices,
        shares,
        group.policies[case.row],
        case.age_s,
        case.neighbours_age_s,
        table,
        reason,
        method,
        detail,
    )


class ShadowComparison:
    """Counts and logs differences between the shares of two versions.

    Args:
        log_file: file to which a line per cell and request is appended; None writes none.
    """

    def __init__(self, log_file: str | None) -> None:
        self._log_file = None if log_file is None else Path(log_file)
        self._rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def add(self, live: Mapping[str, Decision], candidate: Mapping[str, Decision]) -> None:
        """Compares the decisions of one request."""
        lines = []
        with self._lock:
            for cell, ours in live.items():
                theirs = candidate.get(cell)
                if ours.policy is None or theirs is None or theirs.policy is None:
                    continue
                difference = max(
                    abs(a - b) for a, b in zip(ours.shares, theirs.shares, strict=True)
                )
                self._count(cell, ours.policy.label, theirs.policy.label, difference)
                lines.append(_make_line(cell, ours, theirs))
        if self._log_file is not None and lines:
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write("".join(lines))

    def summarise(self) -> dict[str, dict[str, Any]]:
        """By cell: both versions, the number of decisions, mean and largest difference."""
        with self._lock:
            return {cell: dict(row) for cell, row in self._rows.items()}

    def _count(self, cell: str, live: str, candidate: str, difference: float) -> None:
        row = self._rows.get(cell)
        if row is None or (row["live"], row["candidate"]) != (live, candidate):
            row = {"live": live, "candidate": candidate, "decisions": 0}
            row |= {"mean_difference": 0.0, "largest_difference": 0.0}
            self._rows[cell] = row
        row["decisions"] += 1
        row["mean_difference"] += (difference - row["mean_difference"]) / row["decisions"]
        row["largest_difference"] = max(row["largest_difference"], difference)


def _make_line(cell: str, live: Decision, candidate: Decision) -> str:
    row = {
        "time": time.time(),
        "cell": cell,
        "live": live.policy and live.policy.label,
        "candidate": candidate.policy and candidate.policy.label,
        "live_shares": dict(zip(live.slices, live.shares, strict=True)),
        "candidate_shares": dict(zip(candidate.slices, candidate.shares, strict=True)),
        "live_fallback": live.reason,
        "candidate_fallback": candidate.reason,
    }
    return json.dumps(row) + "\n"
