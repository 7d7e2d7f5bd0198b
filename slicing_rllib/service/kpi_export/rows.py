"""The tidy table of KPIs: its columns, its units, and how runs become rows of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from slicing_rllib.env import SlicingEnv, slice_reward
from slicing_rllib.env import satisfaction as compute_satisfaction
from slicing_rllib.env.policy import DecisionView, Policy
from slicing_rllib.radio import Scenario, StepKpis

COLUMNS = ("step", "cell", "cell_id", "slice", "kpi", "value", "unit")
"""`cell_id` is the operator's name of the cell; `slice` is empty for KPIs of a whole cell."""
SLICE_UNITS = {
    "throughput_mbps": "Mbit/s",
    "delay_ms": "ms",
    "prb_ratio": "1",
    "load": "1",
    "users": "UEs",
    "demand_mbps": "Mbit/s",
}
"""KPIs per slice, and their units. `throughput_mbps` is that of a user while it is served."""
CELL_UNITS = {"reward": "1", "satisfaction": "1", "fail_rate_95": "1"}
"""KPIs of a whole cell."""
KPIS = (*SLICE_UNITS, *CELL_UNITS)


def select_training_rows(
    rows: Sequence[Mapping[str, Any]], scenario: Scenario, first: int, last: int | None
) -> pd.DataFrame:
    """Means over the iterations that end at a step from `first` to `last`, from `metrics.jsonl`."""
    inside = [
        row for row in rows if first <= row["env_steps"] <= (last if last is not None else np.inf)
    ]
    return _make_table(entry for row in inside for entry in _iterate_row(row, scenario))


def replay_steps(env: SlicingEnv, policy: Policy, seed: int, first: int, last: int) -> pd.DataFrame:
    """KPIs of every step from `first` to `last` under a policy, on the traffic of `seed`."""
    columns = env.reset_columns(seed)
    tables: list[pd.DataFrame] = []
    for step in range(last + 1):
        view = DecisionView(columns.obs, env.kpis, env.simulator)
        columns = env.step_columns(policy.prb_ratio(view).astype(np.float32))
        if step >= first:
            tables.append(_make_table(_iterate_step(step, env.kpis, columns.live, env.scenario)))
        if columns.truncated.all():
            columns = env.reset_columns()
    return pd.concat(tables, ignore_index=True)


def _make_table(entries: Iterator[tuple[Any, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(list(entries), columns=pd.Index(COLUMNS))
    table["step"] = table["step"].astype("int64")
    table["value"] = table["value"].astype("float64")
    return table


def _iterate_row(row: Mapping[str, Any], scenario: Scenario) -> Iterator[tuple[Any, ...]]:
    for cell, cell_id in zip(scenario.cells, scenario.cell_ids, strict=True):
        numbers = row["cells"].get(cell, {})
        for kpi, unit in CELL_UNITS.items():
            if numbers.get(kpi) is not None:
                yield row["env_steps"], cell, cell_id, "", kpi, numbers[kpi], unit
        for kpi, unit in SLICE_UNITS.items():
            for spec, value in zip(scenario.slices, numbers.get(kpi, ()), strict=False):
                yield row["env_steps"], cell, cell_id, spec.name, kpi, value, unit


def _iterate_step(
    step: int, kpis: StepKpis, live: Bool[np.ndarray, " cell"], scenario: Scenario
) -> Iterator[tuple[Any, ...]]:
    slas = (scenario.sla_throughput_mbps, scenario.sla_delay_ms)
    per_cell: dict[str, Float[np.ndarray, " cell"]] = {
        "reward": slice_reward(kpis.throughput_mbps, kpis.delay_ms, *slas),
        "satisfaction": compute_satisfaction(kpis.throughput_mbps, slas[0]),
    }
    for index in np.flatnonzero(live).tolist():
        names = scenario.cells[index], scenario.cell_ids[index]
        for kpi, values in per_cell.items():
            yield step, *names, "", kpi, values[index], CELL_UNITS[kpi]
        for kpi, unit in SLICE_UNITS.items():
            for spec, value in zip(scenario.slices, getattr(kpis, kpi)[index], strict=True):
                yield step, *names, spec.name, kpi, value, unit
