"""Writes the KPIs of a run to a Parquet or CSV file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from slicing_rllib.service.config import PACKAGE_POLICIES, TRAINED_POLICIES, RunConfig
from slicing_rllib.service.errors import ConfigError, RunError
from slicing_rllib.service.kpi_export.rows import KPIS, replay_steps, select_training_rows
from slicing_rllib.service.runs.evaluation import (
    Trained,
    derive_evaluation_seeds,
    make_named_policy,
    make_network,
    read_trained_policies,
)
from slicing_rllib.service.runs.run_directory import RunDirectory

SUFFIXES = (".parquet", ".csv", ".csv.gz")


class Window(NamedTuple):
    """Steps from `first` to `last`, both included; up to the end where `last` is None."""

    first: int
    last: int | None


def parse_window(text: str | None) -> Window:
    """From `FIRST:LAST`, either of which may be missing. Raises: ConfigError."""
    if text is None:
        return Window(0, None)
    first, colon, last = text.partition(":")
    try:
        window = Window(int(first or 0), int(last) if last else None)
    except ValueError:
        colon = ""
        window = Window(0, None)
    if not colon or window.first < 0 or (window.last is not None and window.last < window.first):
        raise ConfigError(f"--window {text}: expected FIRST:LAST, two steps such as 100:400")
    return window


def export_training(run: RunDirectory, window: Window) -> pd.DataFrame:
    """KPIs while the run learned, a mean per iteration. Raises: RunError without any."""
    table = select_training_rows(run.metrics(), run.config().scenario, *window)
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
    last = config.evaluation.steps - 1 if window.last is None else window.last
    if window.first > last:
        raise ConfigError(f"--window: expected a first step below {last + 1}, the evaluation's end")
    network = make_network(config)
    made = make_named_policy(policy, config, _read_trained(config, run, policy))
    return replay_steps(network, made, seeds[seed_index], window.first, last)


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
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            compression = "gzip" if path.suffix.lower() == ".gz" else None
            table.to_csv(partial, index=False, compression=compression)
        os.replace(partial, path)
    except OSError as error:
        raise RunError(f"{path}: cannot write the table ({error.strerror})") from error


def _read_trained(config: RunConfig, run: RunDirectory, policy: str) -> Trained:
    is_trained = policy in TRAINED_POLICIES and policy not in PACKAGE_POLICIES
    return read_trained_policies(config, run) if is_trained else {}
