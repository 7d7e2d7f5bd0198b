"""The numbers of a run, published as Ray metrics and written by experiment trackers.

Prometheus scrapes Ray metrics from each node's metrics port. Ray adds `ray_` in front of each name
and `_total` behind the name of a counter. All tags (`run`, `cell`, `slice`, `phase`, `policy` and
the `kind` of an event) have values that are known from the config, so the number of series is
bounded. Ray's agents drop a gauge that has not been set for two report intervals; so that gauges
stay visible during a long iteration, their last values are sent again.
"""

import importlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import ray
from jaxtyping import Float
from ray.tune.utils import flatten_dict
from ray.util import metrics

from slicing_rllib.evaluation.statistics import SATISFIED
from slicing_rllib.policies.events import EventKind
from slicing_rllib.radio import Phase
from slicing_rllib.runs.run_config import Tracker
from slicing_rllib.storage.errors import RunError


class RefreshedGauges:
    """Gauges of one run whose last values are sent again until `close`.

    `descriptions` are those of the gauges by the tags that they have apart from `run`;
    `refresh_s` is the time between two transmissions of the same value, in seconds.
    """

    def __init__(
        self,
        run: str,
        descriptions: Mapping[tuple[str, ...], Mapping[str, str]],
        refresh_s: float,
    ) -> None:
        self._run = run
        self._gauges = {
            name: metrics.Gauge(name, text, ("run", *tags))
            for tags, gauges in descriptions.items()
            for name, text in gauges.items()
        }
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._refresh, args=(refresh_s,), name="gauges", daemon=True
        )
        self._thread.start()

    def set(self, name: str, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """Sets a gauge. None, NaN and infinity end it: Ray drops it after two report intervals."""
        key = (name, tuple((tags or {}).items()))
        with self._lock:
            if value is None or not math.isfinite(value):
                self._values.pop(key, None)
            else:
                self._values[key] = float(value)
                self._send(*key, float(value))

    def close(self) -> None:
        """Stops sending; Ray then drops all gauges."""
        self._closed.set()
        self._thread.join()

    def _refresh(self, refresh_s: float) -> None:
        while not self._closed.wait(refresh_s):
            with self._lock:
                for key, value in self._values.items():
                    with suppress(RuntimeError, ValueError):  # Else no gauge is sent any more.
                        self._send(*key, value)

    def _send(self, name: str, tags: tuple[tuple[str, str], ...], value: float) -> None:
        self._gauges[name].set(value, {"run": self._run, **dict(tags)})


Sink = tuple[Callable[[Mapping[str, float], int], object], Callable[[], object]]
"""Writes the numbers of an iteration at an environment step; ends the tracker's run."""


def open_tracker(tracker: Tracker, run: str, folder: Path) -> Sink:
    """Opens a tracker for the run of that name; `folder` is for trackers that write files.

    MLflow's and wandb's own environment variables name the server, project and key.
    Raises: RunError if the tracker's package is not installed.
    """
    package = "tensorboardX" if tracker == "tensorboard" else tracker
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise RunError(
            f'tracking with {package}: the package is missing; pip install "slicing-rllib[track]"'
        ) from error
    if tracker == "mlflow":
        module.start_run(run_name=run)
        return lambda row, step: module.log_metrics(dict(row), step=step), module.end_run
    if tracker == "wandb":
        opened = module.init(name=run, dir=str(folder))
        return lambda row, step: opened.log(dict(row), step=step), opened.finish
    writer = module.SummaryWriter(str(folder / "tensorboard"))

    def write(scalars: Mapping[str, float], env_step: int) -> None:
        for name, value in scalars.items():
            writer.add_scalar(name, value, env_step)

    return write, writer.close


def flatten_row(row: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a row of metrics.jsonl by its path, such as `cells/cell_1/delay_ms/0`."""
    return {
        path: float(value)
        for path, value in flatten_dict(dict(row), flatten_list=True).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


DETAILED_CELLS = 128
"""Number of cells that have series of their own. Further cells appear only in the aggregates,
because each series costs memory and time in Ray's agents and in Prometheus."""
REFRESH_S = 5.0
"""Less than two of Ray's report intervals (10 s each), after which it drops a gauge."""
PHASES = tuple(phase.name.lower() for phase in Phase)
CELL_GAUGES = {
    "reward": ("slicing_reward", "Mean reward of the cell over the iteration, eq. (2)"),
    "satisfaction": (
        "slicing_satisfaction_ratio",
        "Minimum over the slices of min(throughput/SLA, 1)",
    ),
    "fail_rate_95": (
        "slicing_fail_rate_95_ratio",
        f"Share of the iteration's steps with satisfaction below {SATISFIED}",
    ),
    "critic_loss": ("slicing_critic_loss", "Mean loss of the twin critics"),
    "actor_loss": ("slicing_actor_loss", "Mean loss of the actor"),
    "replay_size": ("slicing_replay_transitions", "Transitions in the cell's replay buffer"),
    "exploring": ("slicing_exploring", "1 while the cell's own policy explores, otherwise 0"),
}
SLICE_GAUGES = {
    "throughput_mbps": ("slicing_throughput_mbps", "Mean user throughput, Mbit/s"),
    "delay_ms": ("slicing_delay_ms", "Mean packet delay, ms"),
    "prb_ratio": ("slicing_prb_ratio", "Share of the carrier's PRBs assigned to the slice"),
    "load": ("slicing_load_ratio", "Share of the carrier's PRBs that the slice uses"),
}
"""Name and description of the gauge of a column in a cell's part of a row."""
GAUGES: dict[tuple[str, ...], dict[str, str]] = {
    (): {
        "slicing_reward_mean": "Mean reward over all cells",
        "slicing_evaluation_reward_mean": "Mean reward without exploration noise",
        "slicing_env_steps_per_s": "Environment steps per second of the last iteration",
        "slicing_updates_per_s": "Gradient updates per second of the last iteration",
        "slicing_satisfaction_mean_ratio": "Mean satisfaction of the cells on air",
        "slicing_satisfaction_min_ratio": "Lowest satisfaction of the cells on air",
        "slicing_cells_below_sla": f"Cells on air with satisfaction below {SATISFIED}",
        "slicing_own_fail_rate_95_ratio": "Share of the iteration's steps with satisfaction below "
        f"{SATISFIED} in cells that their own policy controls and that do not explore",
        "slicing_last_step_timestamp_s": "Unix time of the last iteration with an environment step",
        "slicing_last_checkpoint_timestamp_s": "Unix time of the last checkpoint, or of the start",
    },
    ("policy",): {"slicing_reference_reward": "Mean reward of a baseline or the oracle"},
    ("phase",): {"slicing_cells": "Cells in a phase"},
    ("cell",): {
        **dict(CELL_GAUGES.values()),
        "slicing_phase": "What controls the cell: "
        + ", ".join(f"{phase:d} {phase.name.lower()}" for phase in Phase),
        "slicing_source_distance": "Distance between the cell and the source of its transfer",
    },
    ("cell", "slice"): {
        **dict(SLICE_GAUGES.values()),
        "slicing_sla_throughput_mbps": "Throughput that the SLA requires, Mbit/s",
        "slicing_sla_delay_ms": "Delay that the SLA allows, ms",
    },
}
"""Description of each gauge, by the tags that it has apart from `run`."""
COUNTERS = {
    "slicing_env_steps": "Environment steps",
    "slicing_updates": "Gradient updates",
    "slicing_iterations": "Training iterations",
    "slicing_stalled_iterations": "Iterations without an environment step",
    "slicing_not_finite_values": "Numbers of an iteration that are NaN or infinite",
}
DURATIONS_S = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]


class Telemetry:
    """Publishes the numbers and events of one run as Ray metrics and through sinks.

    Only the first `DETAILED_CELLS` of the `cells` get series of their own. `sinks` are experiment
    trackers that receive the same numbers; after `refresh_s` seconds, gauges are sent again.
    Raises: RuntimeError if Ray is not initialised.
    """

    def __init__(
        self,
        run: str,
        cells: Sequence[str],
        slices: Sequence[str],
        sla_throughput_mbps: Float[np.ndarray, "cell slice"],
        sla_delay_ms: Float[np.ndarray, "cell slice"],
        *,
        sinks: Sequence[Sink] = (),
        refresh_s: float = REFRESH_S,
    ) -> None:
        if not ray.is_initialized():
            raise RuntimeError(f"telemetry of run {run!r}: expected ray.init() before it")
        self._run, self._slices, self._sinks = run, tuple(slices), tuple(sinks)
        self._detailed = tuple(cells)[:DETAILED_CELLS]
        self._gauges = RefreshedGauges(run, GAUGES, refresh_s)
        self._counters = {
            name: metrics.Counter(name, text, ("run",)) for name, text in COUNTERS.items()
        }
        self._events = metrics.Counter(
            "slicing_events", "Events of events.jsonl", ("run", "cell", "kind")
        )
        self._durations = metrics.Histogram(
            "slicing_iteration_duration_s", "Duration of an iteration, s", DURATIONS_S, ("run",)
        )
        self._last: Mapping[str, Any] | None = None
        for index, cell in enumerate(self._detailed):
            throughput_mbps, delay_ms = sla_throughput_mbps[index], sla_delay_ms[index]
            self._publish_slices("slicing_sla_throughput_mbps", cell, throughput_mbps.tolist())
            self._publish_slices("slicing_sla_delay_ms", cell, delay_ms.tolist())
        for name in ("slicing_last_step_timestamp_s", "slicing_last_checkpoint_timestamp_s"):
            self._gauges.set(name, time.time())

    def publish(self, row: Mapping[str, Any]) -> None:
        """Publishes a row of metrics.jsonl."""
        scalars = flatten_row(row)
        finite = {name: value for name, value in scalars.items() if math.isfinite(value)}
        self._count("slicing_not_finite_values", len(scalars) - len(finite))
        self._publish_progress(row)
        self._publish_totals(row)
        for cell in self._detailed:
            self._publish_cell(cell, row["cells"].get(cell, {}))
        for write, _ in self._sinks:
            write(finite, row["env_steps"])

    def count_event(
        self, kind: str, cell: str | None = None, evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Counts an event of events.jsonl; kinds that are no `EventKind` share one tag value.

        Also publishes the time of a checkpoint and the distance of a chosen source.
        """
        tags = {"cell": cell or "", "kind": kind if kind in set(EventKind) else "other"}
        self._events.inc(1, {"run": self._run, **tags})
        if kind == EventKind.CHECKPOINT_WRITTEN:
            self._gauges.set("slicing_last_checkpoint_timestamp_s", time.time())
        if kind == EventKind.NOT_FINITE:
            self._count("slicing_not_finite_values", 1)
        distance = (evidence or {}).get("distance")
        if cell is not None and isinstance(distance, int | float):
            self._gauges.set("slicing_source_distance", float(distance), {"cell": cell})

    def close(self) -> None:
        """Ends the gauges, which then disappear from dashboards, and closes the sinks."""
        self._gauges.close()
        for _, close in self._sinks:
            close()

    def _publish_progress(self, row: Mapping[str, Any]) -> None:
        """Publishes rewards, and speeds from the second row on.

        The first row of a resumed run counts steps of earlier sessions, so it yields no speed.
        """
        last, self._last = self._last, row
        self._count("slicing_iterations", 1)
        self._gauges.set("slicing_reward_mean", row["reward_mean"])
        if "evaluation_reward_mean" in row:
            self._gauges.set("slicing_evaluation_reward_mean", row["evaluation_reward_mean"])
        for policy, level in row["references"].items():
            self._gauges.set("slicing_reference_reward", level, {"policy": policy})
        if last is None:
            return
        env_steps, updates, seconds = (
            row[key] - last[key] for key in ("env_steps", "updates", "time_s")
        )
        self._count("slicing_env_steps", env_steps)
        self._count("slicing_updates", updates)
        self._count("slicing_stalled_iterations", 0 if env_steps else 1)
        if env_steps:
            self._gauges.set("slicing_last_step_timestamp_s", time.time())
        if seconds > 0:
            self._durations.observe(seconds, {"run": self._run})
            self._gauges.set("slicing_env_steps_per_s", env_steps / seconds)
            self._gauges.set("slicing_updates_per_s", updates / seconds)

    def _publish_totals(self, row: Mapping[str, Any]) -> None:
        phases = [cell.get("phase") for cell in row["cells"].values()]
        for phase in PHASES:
            self._gauges.set("slicing_cells", float(phases.count(phase)), {"phase": phase})
        satisfied = [c["satisfaction"] for c in row["cells"].values() if "satisfaction" in c]
        if satisfied:
            below = sum(ratio < SATISFIED for ratio in satisfied)
            self._gauges.set("slicing_satisfaction_mean_ratio", float(np.mean(satisfied)))
            self._gauges.set("slicing_satisfaction_min_ratio", float(np.min(satisfied)))
            self._gauges.set("slicing_cells_below_sla", float(below))
        own = [
            cell["fail_rate_95"]
            for cell in row["cells"].values()
            if cell.get("phase") == PHASES[Phase.CONTROLLED]
            and not cell.get("exploring", False)
            and "fail_rate_95" in cell
        ]
        rate = float(np.mean(own)) if own else None
        self._gauges.set("slicing_own_fail_rate_95_ratio", rate)

    def _publish_cell(self, cell: str, numbers: Mapping[str, Any]) -> None:
        for column, (name, _) in CELL_GAUGES.items():
            self._gauges.set(name, numbers.get(column), {"cell": cell})
        for column, (name, _) in SLICE_GAUGES.items():
            self._publish_slices(name, cell, numbers.get(column))
        phase = numbers.get("phase")
        code = PHASES.index(phase) if phase in PHASES else None
        self._gauges.set("slicing_phase", code, {"cell": cell})

    def _publish_slices(self, name: str, cell: str, values: Sequence[float] | None) -> None:
        known = [None] * len(self._slices) if values is None else values
        for slice_name, value in zip(self._slices, known, strict=True):
            self._gauges.set(name, value, {"cell": cell, "slice": slice_name})

    def _count(self, name: str, amount: int) -> None:
        """Adds to a counter. Ray's counters do not accept 0."""
        if amount > 0:
            self._counters[name].inc(amount, {"run": self._run})
