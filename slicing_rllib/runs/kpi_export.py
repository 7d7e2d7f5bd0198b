"""The KPIs of a run as one tidy table, in a Parquet or CSV file."""

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slicing_rllib.env import satisfaction as compute_satisfaction
from slicing_rllib.env import slice_reward
from slicing_rllib.evaluation.tables import format_csv
from slicing_rllib.radio import Scenario
from slicing_rllib.runs.policy_evaluation import (
    derive_evaluation_seeds,
    follow,
    make_named_policy,
    make_network,
)
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage import replace_durably
from slicing_rllib.storage.errors import ConfigError, RunError

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


SUFFIXES = (".parquet", ".csv", ".csv.gz")


Window = tuple[int, int | None]
"""First and last step, both included; up to the end where the last is None."""


def parse_window(text: str | None) -> Window:
    """From `FIRST:LAST`, either of which may be missing. Raises: ConfigError."""
    first, colon, last = (":" if text is None else text).partition(":")
    try:
        window = int(first or 0), int(last) if last else None
        if not colon or not 0 <= window[0] <= (window[0] if window[1] is None else window[1]):
            raise ValueError(text)
    except ValueError as error:
        raise ConfigError(
            f"--window {text}: expected FIRST:LAST, two steps such as 100:400"
        ) from error
    return window


def export_training(run: RunDirectory, window: Window) -> pd.DataFrame:
    """KPIs while the run learned, a mean per iteration that ends in the window.

    Raises: RunError without any.
    """
    scenario, (first, last) = run.config().scenario, window
    end = np.inf if last is None else last
    inside = [row for row in run.metrics() if first <= row["env_steps"] <= end]
    table = _make_table(
        entry for row in inside for entry in _iterate(row["env_steps"], row["cells"], scenario)
    )
    if table.empty:
        raise RunError(f"{run.path}: expected rows of metrics.jsonl in this window, found none")
    return table


def export_replay(run: RunDirectory, policy: str, seed_index: int, window: Window) -> pd.DataFrame:
    """KPIs of every step of a policy's final evaluation, which is played again.

    `seed_index` counts the evaluation seeds from 0. Raises: ConfigError for a policy, seed or
    window that the evaluation does not have.
    """
    config = run.config()
    seeds = derive_evaluation_seeds(config)
    if not 0 <= seed_index < len(seeds):
        raise ConfigError(f"--seed {seed_index}: expected 0 to {len(seeds) - 1}")
    known = config.evaluated_policies
    if policy not in known:
        raise ConfigError(f"--policy {policy}: expected one of {', '.join(known)}")
    first, last = window[0], config.evaluation.steps - 1 if window[1] is None else window[1]
    if first > last:
        raise ConfigError(f"--window: expected a first step below {last + 1}, the evaluation's end")
    env, made = make_network(config), make_named_policy(policy, config, run)
    scenario, entries = env.scenario, []
    slas = (scenario.sla_throughput_mbps, scenario.sla_delay_ms)
    # The first state that is yielded is that before step 0.
    for step, batched in enumerate(follow(env, made, last + 1, seeds[seed_index]), start=-1):
        if step < first:
            continue
        kpis = env.kpis
        columns = {kpi: getattr(kpis, kpi) for kpi in SLICE_UNITS} | {
            "reward": slice_reward(kpis.throughput_mbps, kpis.delay_ms, *slas),
            "satisfaction": compute_satisfaction(kpis.throughput_mbps, slas[0]),
        }
        # As a row of `metrics.jsonl` has them, for the cells on air.
        cells = {
            scenario.cells[index]: {kpi: values[index] for kpi, values in columns.items()}
            for index in np.flatnonzero(batched.live)
        }
        entries += _iterate(step, cells, scenario)
    return _make_table(entries)


def _make_table(entries: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(entries, columns=pd.Index(COLUMNS))
    return table.astype({"step": "int64", "value": "float64"})


def _iterate(
    step: int, cells: Mapping[str, Mapping[str, Any]], scenario: Scenario
) -> Iterator[tuple[Any, ...]]:
    for cell, cell_id in zip(scenario.cells, scenario.cell_ids, strict=True):
        numbers = cells.get(cell, {})
        for kpi, unit in CELL_UNITS.items():
            if numbers.get(kpi) is not None:
                yield step, cell, cell_id, "", kpi, numbers[kpi], unit
        for kpi, unit in SLICE_UNITS.items():
            for spec, value in zip(scenario.slices, numbers.get(kpi, ()), strict=False):
                yield step, cell, cell_id, spec.name, kpi, value, unit


def select(
    table: pd.DataFrame, kpis: Sequence[str] | None, cells: Sequence[str] | None
) -> pd.DataFrame:
    """The rows of some KPIs and cells; cells by our name or the operator's. Raises: ConfigError."""
    for name in kpis or ():
        if name not in KPIS:
            raise ConfigError(f"--kpis: expected some of {', '.join(KPIS)}, got {name!r}")
    if kpis:
        table = table.loc[table["kpi"].isin(kpis)]
    if cells:
        known = set(table["cell"]) | set(table["cell_id"])
        for name in cells:
            if name not in known:
                raise ConfigError(f"--cells: expected cells of the run, got {name!r}")
        table = table.loc[table["cell"].isin(cells) | table["cell_id"].isin(cells)]
    return table.reset_index(drop=True)


def check_suffix(path: Path) -> None:
    """Raises: ConfigError for a file that is neither Parquet nor CSV."""
    if not path.name.lower().endswith(SUFFIXES):
        raise ConfigError(f"--out {path}: expected a name that ends in {', '.join(SUFFIXES)}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes the table; an existing file is replaced. Raises: RunError where that fails."""
    suffix = path.suffix.lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_durably(path) as partial:
            if suffix == ".parquet":
                table.to_parquet(partial, index=False)
            else:
                data = format_csv(table).encode()
                partial.write_bytes(gzip.compress(data) if suffix == ".gz" else data)
    except OSError as error:
        raise RunError(f"{path}: cannot write the table ({error.strerror})") from error
