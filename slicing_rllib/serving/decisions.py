"""From a request to decisions: each cell's policy, or the fallback that answers in its place.

A cell whose KPIs or neighbours are missing, stale or far from training gets a fallback with its
reason; the policies of all others are computed at once, by `PolicyGroup.decide`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from starlette.exceptions import HTTPException

from slicing_rllib.env import max_min_split
from slicing_rllib.env.measurement import MEMORY
from slicing_rllib.env.rewards import needed_share, offered_share
from slicing_rllib.policies import CellPolicy
from slicing_rllib.policies.baselines import divide_in_proportion
from slicing_rllib.policies.cell_policy import PolicyGroup, group_policies
from slicing_rllib.policies.encoder import BASE_POLICY_KPIS, CellEncoder
from slicing_rllib.serving.answers import Decision, Fallback, Method, Reason
from slicing_rllib.serving.requests import KPI_NAMES, CellReport, DecisionRequest

RANGE_MARGIN = 1.0
"""A KPI is far outside if it is off the recorded range by more than this times its width."""
LEAST_WIDTH = 0.5
"""Least width of a range, as a share of its largest absolute value."""
MAX_NAMES_IN_MESSAGE = 3

Table = Float[np.ndarray, "slice kpi"]


class LoadReport(NamedTuple):
    """The load of one cell in its last interval, from which neighbours' messages are formed."""

    measured_at: float
    """End of the interval, as a POSIX time."""
    load: Mapping[str, float] | None
    """By slice; None for a cell that is off the air."""
    table: tuple[tuple[float | None, ...], ...] | None = None
    """The cell's KPIs, for a policy that remembers them."""
    earlier: tuple[tuple[float, tuple[tuple[float | None, ...], ...]], ...] = ()
    """Ends and KPIs of the intervals before, the newest first, at most `MEMORY` - 1."""

    def follow(self, kept: "LoadReport | None") -> "LoadReport":
        """This report with what it remembers of the one that was kept before it."""
        if kept is None or kept.table is None or self.table is None:
            return self
        if kept.measured_at == self.measured_at:  # The same interval, reported again.
            return self._replace(earlier=kept.earlier)
        earlier = ((kept.measured_at, kept.table), *kept.earlier)
        return self._replace(earlier=earlier[: MEMORY - 1])


Reports = Mapping[str, LoadReport]
"""By cell."""


class PolicySet:
    """The policies of all cells, in groups that are computed together."""

    def __init__(self, policies: Mapping[str, CellPolicy]) -> None:
        self.policies = dict(policies)
        self.groups = group_policies(list(policies.values()))
        self.group_of = {cell: group for group in self.groups for cell in group.rows}
        self.limits = {group: _find_limits(group.policies) for group in self.groups}
        self.remembering = {name for name, p in policies.items() if p.encoder.remembers}
        """Cells whose policies read earlier reports, too."""
        self.reads_reports = bool(self.remembering) or any(
            policy.encoder.neighbours for policy in policies.values()
        )


def _find_limits(
    policies: Sequence[CellPolicy],
) -> tuple[Float[np.ndarray, "cell slice read"], Float[np.ndarray, "cell slice read"]]:
    """Smallest and largest KPIs that policies answer; infinite where nothing was recorded."""
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


class _Case(NamedTuple):
    """One cell of a request that has a policy."""

    decision: Decision
    """Without shares."""
    encoder: CellEncoder
    """The policy's, with the SLA of the request."""
    load: list[list[float]]
    """Of the neighbours, zeros where a report is missing."""
    objection: tuple[Reason, str] | None
    """Why the policy must not answer."""
    earlier: Sequence[Any]
    """Tables of the reports before, the oldest first, where the policy remembers."""


def list_new_reports(request: DecisionRequest, policies: PolicySet, now: datetime) -> Reports:
    """What a request tells about the load of cells that have policies."""
    found: dict[str, LoadReport] = {}
    for cell, report in request.cells.items():
        if cell not in policies.policies or report.mistake:
            continue
        loads = {name: vars(kpis)["load"] for name, kpis in report.slices.items()}
        if None not in loads.values():
            measured_at = (report.measured_at or now).timestamp()
            table, encoder = None, policies.policies[cell].encoder
            is_remembered = cell in policies.remembering and not report.off
            if is_remembered and report.slices.keys() >= set(encoder.slices):
                table = tuple(map(tuple, report.table(encoder.slices)))
            found[cell] = LoadReport(measured_at, None if report.off else loads, table)
    return found


def list_wanted_reports(request: DecisionRequest, policies: PolicySet) -> set[str]:
    """Cells of which more reports are needed than the request contains: neighbours, and cells whose
    policies remember."""
    needed: set[str] = set()
    for cell in request.cells:
        if policy := policies.policies.get(cell):
            needed.update(policy.encoder.neighbours)
    return (needed - request.cells.keys()) | (policies.remembering & request.cells.keys())


def join_reports(new: Reports, kept: Reports) -> Reports:
    """Those of a request, with what is remembered of the same interval; and those of others."""
    joined = {**kept, **new}
    for cell in new.keys() & kept.keys():
        if kept[cell].measured_at == new[cell].measured_at:
            joined[cell] = kept[cell]
    return joined


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

    Raises: HTTPException in a strict request, for the first cell that is unknown, has other slices
        or lacks KPIs.
    """
    decisions: dict[str, Decision] = {}
    groups: dict[PolicyGroup, list[_Case]] = {}
    for cell, report in request.cells.items():
        if report.off:
            continue
        policy = policies.policies.get(cell)
        if objection := _find_objection(policy, report):
            if request.strict:
                status = 404 if policy is None else 422
                raise HTTPException(status, f"cells.{cell}: {objection[1]}")
            decisions[cell] = _fall_back(policy, report, request, now, *objection)
        elif policy is not None:
            case = _make_case(policy, report, request, reports, now, max_age_s)
            groups.setdefault(policies.group_of[cell], []).append(case)
    for group, cases in groups.items():
        decisions |= _decide_group(group, cases, policies)
    return {cell: decisions[cell] for cell in request.cells if cell in decisions}


def require_known_slices(request: DecisionRequest, policies: PolicySet) -> None:
    """Raises: HTTPException for an A1-style policy of a slice that no cell of the request has."""
    unknown = set(request.a1_policies)
    for cell, report in request.cells.items():
        policy = policies.policies.get(cell)
        unknown.difference_update(report.slices, policy.encoder.slices if policy else ())
    if unknown:
        raise HTTPException(422, f"a1_policies.{min(unknown)}: no cell has this slice")


def _find_objection(policy: CellPolicy | None, report: CellReport) -> tuple[Reason, str] | None:
    """Why a policy cannot answer a report at all; None if it can."""
    mistake = f"; {report.mistake}" if report.mistake else ""
    if policy is None:
        return Reason.UNKNOWN_CELL, f"no policy for this cell{mistake}"
    encoder = policy.encoder
    # Slices that cannot be read are empty.
    if report.slices and report.slices.keys() != set(encoder.slices):
        expected = ", ".join(encoder.slices)
        return Reason.SLICES_CHANGED, f"slices: expected exactly {expected}{mistake}"
    if report.mistake:
        return Reason.INVALID_REPORT, report.mistake
    for name in encoder.slices:
        kpis = vars(report.slices[name])
        for kpi in encoder.required_kpis:
            if kpis[kpi] is None:
                return Reason.MISSING_KPIS, f"slices.{name}.{kpi}: the policy needs this KPI"
    return None


def _fall_back(
    policy: CellPolicy | None,
    report: CellReport,
    request: DecisionRequest,
    now: datetime,
    reason: Reason,
    detail: str,
) -> Decision:
    """The decision without a policy, for all slices of the report and of the policy.

    KPIs whose report is wrong may be in another unit: the base policy needs them, traffic does not.
    """
    encoder = policy and _apply_a1_policies(policy.encoder, request)
    slices = tuple(dict.fromkeys((*(encoder.slices if encoder else ()), *report.slices)))
    table = np.array(report.table(slices), float).reshape(len(slices), len(KPI_NAMES))
    if encoder is not None and reason is Reason.MISSING_KPIS:
        sla = encoder.sla_throughput_mbps, encoder.sla_delay_ms
        shares, method = choose_fallback(table, *map(np.array, sla))
    else:
        shares, method = choose_fallback(table)
    return Decision(
        shares=dict(zip(slices, shares.tolist(), strict=True)),
        policy=policy and policy.label,
        policy_sha256=policy and policy.digest,
        served_policy=policy,
        age_s=report.age_s(now),
        neighbours_age_s=None,
        table=table,
        fallback=Fallback(reason, method, detail),
    )


def _make_case(
    policy: CellPolicy,
    report: CellReport,
    request: DecisionRequest,
    reports: Reports,
    now: datetime,
    max_age_s: float,
) -> _Case:
    encoder = _apply_a1_policies(policy.encoder, request)
    age_s = report.age_s(now)
    load, neighbours_age_s, objection = _form_message(encoder, reports, now, max_age_s)
    if encoder.observation == "paper" and encoder != policy.encoder:
        objection = Reason.SLA_NOT_OBSERVED, "the policy was trained for its own SLA"
    if abs(age_s) > max_age_s:
        objection = Reason.STALE_KPIS, f"KPIs are {age_s:.3g} s old, expected {max_age_s:g} s"
    decision = Decision(
        shares={},
        policy=policy.label,
        policy_sha256=policy.digest,
        served_policy=policy,
        age_s=age_s,
        neighbours_age_s=neighbours_age_s,
        table=np.array(report.table(encoder.slices), float),
        fallback=None,
    )
    earlier = (
        _recall(decision.table, reports.get(encoder.cell), now, max_age_s)
        if encoder.remembers
        else ()
    )
    return _Case(decision, encoder, load, objection, earlier)


def _recall(
    table: Table, report: LoadReport | None, now: datetime, max_age_s: float
) -> Sequence[Any]:
    """The tables before, the oldest first; where they are missing or stale, the next newer one."""
    oldest, recalled = now.timestamp() - MEMORY * max_age_s, list[Any]()
    for measured_at, earlier in () if report is None else report.earlier:
        if measured_at < oldest:
            break
        recalled.append(earlier)
    recalled += [recalled[-1] if recalled else table] * (MEMORY - 1 - len(recalled))
    return recalled[::-1]


def _apply_a1_policies(encoder: CellEncoder, request: DecisionRequest) -> CellEncoder:
    """The encoder with the SLA of the request's A1-style policies."""
    if not request.a1_policies:
        return encoder
    own = zip(encoder.slices, encoder.sla_throughput_mbps, encoder.sla_delay_ms, strict=True)
    throughput_mbps, delay_ms = zip(
        *(
            request.a1_policies[name].override_sla(*sla) if name in request.a1_policies else sla
            for name, *sla in own
        ),
        strict=True,
    )
    return replace(
        encoder, sla_throughput_mbps=tuple(throughput_mbps), sla_delay_ms=tuple(delay_ms)
    )


def _form_message(
    encoder: CellEncoder, reports: Reports, now: datetime, max_age_s: float
) -> tuple[list[list[float]], float | None, tuple[Reason, str] | None]:
    """Loads of the neighbours in the order of the message, their age, and what is wrong."""
    load = [[0.0] * len(encoder.slices)] * encoder.message_slots
    if not encoder.neighbours:
        return load, None, None
    oldest, missing = now.timestamp(), []
    for slot, neighbour in enumerate(encoder.neighbours):
        report = reports.get(neighbour)
        if report is None or not (report.load is None or report.load.keys() >= set(encoder.slices)):
            missing.append(neighbour)
            continue
        if report.load is not None:
            load[slot] = [report.load[name] for name in encoder.slices]
        oldest = min(oldest, report.measured_at)
    age_s = now.timestamp() - oldest
    if missing:
        names = ", ".join(missing[:MAX_NAMES_IN_MESSAGE])
        return load, age_s, (Reason.MISSING_NEIGHBOURS, f"no report of {names}")
    if age_s > max_age_s:
        detail = f"a neighbour's report is {age_s:.3g} s old, expected {max_age_s:g} s"
        return load, age_s, (Reason.STALE_NEIGHBOURS, detail)
    return load, age_s, None


def _decide_group(
    group: PolicyGroup, cases: Sequence[_Case], policies: PolicySet
) -> dict[str, Decision]:
    encoder, rows = group.encoder, [group.rows[case.encoder.cell] for case in cases]
    tables = np.stack([case.decision.table for case in cases])
    columns = {name: tables[:, :, KPI_NAMES.index(name)] for name in encoder.required_kpis}
    load = np.array([case.load for case in cases], float)
    load = load.reshape(len(cases), encoder.message_slots, len(encoder.slices))
    earlier = (
        [
            {name: report[:, :, KPI_NAMES.index(name)] for name in encoder.required_kpis}
            for report in np.array([case.earlier for case in cases], float).swapaxes(0, 1)
        ]
        if encoder.remembers
        else []
    )
    answers = group.decide([case.encoder for case in cases], columns, load, earlier)
    is_finite = np.ravel(np.isfinite(answers).all(axis=1))
    values, (low, high) = np.stack([*columns.values()], axis=2), policies.limits[group]
    far = (values < low[rows]) | (values > high[rows])
    is_far = np.ravel(far.any(axis=(1, 2)))
    decisions: dict[str, Decision] = {}
    for row, case in enumerate(cases):
        decision, shares, objection = case.decision, answers[row], case.objection
        if objection is None and not is_finite[row]:
            objection = Reason.POLICY_FAILED, "the policy's answer is not finite"
        elif objection is None and is_far[row]:
            slice_row, column = np.argwhere(far[row])[0]
            kpi = f"{encoder.required_kpis[column]} of {encoder.slices[slice_row]}"
            objection = Reason.OUTSIDE_TRAINING, f"{kpi} is far from what the policy has met"
        if objection is not None:
            sla = case.encoder.sla_throughput_mbps, case.encoder.sla_delay_ms
            shares, method = choose_fallback(decision.table, *map(np.array, sla))
            decision.fallback = Fallback(objection[0], method, objection[1])
        decision.shares = dict(zip(encoder.slices, shares.tolist(), strict=True))
        decisions[case.encoder.cell] = decision
    return decisions


def choose_fallback(
    table: Table,
    sla_throughput_mbps: Float[np.ndarray, " slice"] | None = None,
    sla_delay_ms: Float[np.ndarray, " slice"] | None = None,
) -> tuple[Float[np.ndarray, " slice"], Method]:
    """The best shares that the KPIs of a cell allow without its policy.

    Args:
        table: the cell's KPIs; NaN for those that are not there.
        sla_throughput_mbps: required throughput; None for a cell without SLA.
        sla_delay_ms: highest permitted delay; None for a cell without SLA.
    """
    kpis = {name: table[:, column] for column, name in enumerate(KPI_NAMES)}
    if sla_throughput_mbps is not None and sla_delay_ms is not None:
        throughput, delay, share, demand, inverse = (kpis[name] for name in BASE_POLICY_KPIS)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            offered = offered_share(demand, inverse)
            sla = sla_throughput_mbps, sla_delay_ms
            needed = needed_share(share, offered, throughput, delay, *sla)
            shares = max_min_split(offered[None], needed[None])[0]
        # A KPI is missing, or the model has no answer, as for a throughput of zero.
        if np.isfinite([offered, needed, shares]).all():
            return shares, Method.BASE_POLICY
    for name in ("demand_mbps", "load"):
        if np.isfinite(kpis[name]).all() and kpis[name].sum() > 0.0:
            return divide_in_proportion(kpis[name][None])[0], Method.TRAFFIC_PROPORTIONAL
    return np.full(len(table), 1.0 / max(1, len(table))), Method.EQUAL
