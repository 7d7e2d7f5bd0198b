"""Runs and experiments as tidy tables, for notebooks and papers."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from slicing_rllib.runs.policy_evaluation import load_rollouts
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory, explain_foreign_run
from slicing_rllib.runs.run_report import plot_run
from slicing_rllib.studies.experiment_report import plot_experiment
from slicing_rllib.studies.results import Results, read_results

# pandas' own annotations are wider than what it returns.
# pyright: reportArgumentType=false, reportReturnType=false

CURVE_COLUMNS = ["env_step", "seed", "cell", "reward"]
EVENT_COLUMNS = ["time", "env_step", "kind", "cell", "message"]


class Run:
    """The tables of a run. Units are in the names of columns; rewards and shares have none."""

    def __init__(self, folder: Path) -> None:
        self._run = RunDirectory.open(folder)

    @cached_property
    def config(self) -> RunConfig:
        """Everything that the run was told; `config.seed` and `config.map_seed` are its seeds."""
        return self._run.config()

    @cached_property
    def learning(self) -> pd.DataFrame:
        """A row per iteration and cell, exploration included: env_step, time_s, cell, reward,
        satisfaction, fail_rate_95, critic_loss and the like, where there are such."""
        rows = [
            {"env_step": row["env_steps"], "time_s": row.get("time_s"), "cell": cell}
            | {name: value for name, value in numbers.items() if not isinstance(value, list)}
            for row in self._run.metrics()
            for cell, numbers in row["cells"].items()
        ]
        return pd.DataFrame(rows).drop(
            columns=["evaluation_reward", "replay_size", "exploring"], errors="ignore"
        )

    @cached_property
    def curve(self) -> pd.DataFrame:
        """Rewards without exploration noise while it learned: env_step, seed, cell, reward. `seed`
        counts the seeds of the evaluation's traffic."""
        rows = [
            (row["env_steps"], seed, cell, reward)
            for row in self._run.metrics()
            for cell, numbers in row["cells"].items()
            if "evaluation_reward" in numbers
            for seed, reward in enumerate(
                numbers.get("evaluation_reward_by_seed", [numbers["evaluation_reward"]])
            )
        ]
        return pd.DataFrame(rows, columns=CURVE_COLUMNS)

    @cached_property
    def events(self) -> pd.DataFrame:
        """What happened: time, env_step, kind, cell (None: the network), message."""
        table = pd.DataFrame(self._run.events(), columns=EVENT_COLUMNS)
        return table.assign(time=pd.to_datetime(table["time"], unit="s", utc=True))

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """The final evaluation, a row per step of a cell on the air: policy, seed, step, cell,
        reward, satisfaction, delay_max_ms, delay_to_sla_max."""
        cells, tables = np.array(self.config.scenario.cells), []
        for policy, columns in load_rollouts(self._run.path / "evaluation.npz").items():
            live = columns["live"] > 0
            seed, step, cell = np.nonzero(live)
            places = {"policy": policy, "seed": seed, "step": step, "cell": cells[cell]}
            values = {name: array[live] for name, array in columns.items() if name != "live"}
            tables.append(pd.DataFrame(places | values))
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def policies(self) -> pd.DataFrame:
        """Means of the final evaluation: policy, metric, mean, ci95_low, ci95_high, seeds."""
        rows: list[tuple[Any, ...]] = []
        for policy, row in self.summary["policies"].items():
            for metric, interval in row["ci95"].items():
                low, high = interval or (None, None)
                rows.append((policy, metric, row[metric], low, high, row["seeds"]))
        columns = ["policy", "metric", "mean", "ci95_low", "ci95_high", "seeds"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Content of `summary.json`."""
        return self._run.summary()

    def plot(self) -> dict[str, Figure]:
        """The figures of `slicing-rllib report RUN`, by name."""
        return plot_run(self._run)


def load_run(path: str | Path) -> Run:
    """The tables of a run directory. Raises: RunError where there is none."""
    with explain_foreign_run(str(path)):
        return Run(Path(path))


def load_experiment(path: str | Path) -> Results:
    """The tables of an experiment's folder, on the seeds that are complete.

    They are `final`, `curves`, `learning` and `transfers`. Raises: RunError where no seed is.
    """
    with explain_foreign_run(str(path)):
        return read_results(Path(path))


__all__ = ["Results", "Run", "load_experiment", "load_run", "plot_experiment", "plot_run"]
