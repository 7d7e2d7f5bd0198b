"""A run's numbers as metrics of Ray, which Prometheus scrapes from every node's export port.

Names carry units; Ray puts `ray_` before them and `_total` after a counter. Tags are bounded:
`run`, `cell`, `slice`, `phase`, `policy` and the `kind` of an event, all known from the config.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
from jaxtyping import Float
from ray.util import metrics

from slicing_rllib.radio import Phase
from slicing_rllib.service.telemetry.event_kinds import EventKind
from slicing_rllib.service.telemetry.gauges import RefreshedGauges
from slicing_rllib.service.telemetry.trackers import Sink, scalars_of

DETAILED_CELLS = 128
"""Cells with series of their own. Beyond them a run shows in its aggregates alone: Prometheus
and Ray's agents pay for every series, and nobody reads 3,072 lines."""
SATISFIED_RATIO = 0.95
REFRESH_S = 5.0
"""Ray forgets a gauge that is not set for two of its report intervals (10 s each)."""
OTHER = "other"
PHASES = tuple(phase.name.lower() for phase in Phase)
EVENT_KINDS = frozenset(EventKind)
PER_CELL = {
    "reward": ("slicing_reward", "Mean reward of the cell over the iteration, eq. (2)"),
    "satisfaction": ("slicing_satisfaction_ratio", "Least of the slices' min(throughput/SLA, 1)"),
    "critic_loss": ("slicing_critic_loss", "Mean loss of the twin critics"),
    "actor_loss": ("slicing_actor_loss", "Mean loss of the actor"),
    "replay_size": ("slicing_replay_transitions", "Transitions in the cell's replay buffer"),
}
PER_SLICE = {
    "throughput_mbps": ("slicing_throughput_mbps", "Mean user throughput, Mbit/s"),
    "delay_ms": ("slicing_delay_ms", "Mean packet delay, ms"),
    "prb_ratio": ("slicing_prb_ratio", "Share of the carrier's PRBs given to the slice"),
    "load": ("slicing_load_ratio", "Share of the carrier's PRBs that the slice uses"),
}
PER_RUN = {
    "slicing_reward_mean": "Mean reward over all cells",
    "slicing_evaluation_reward_mean": "Mean reward without exploration noise",
    "slicing_env_steps_per_s": "Network steps per second of the last iteration",
    "slicing_updates_per_s": "Gradient updates per second of the last iteration",
    "slicing_satisfaction_mean_ratio": "Mean satisfaction of the cells on air",
    "slicing_satisfaction_min_ratio": "Satisfaction of the worst cell on air",
    "slicing_cells_below_sla": f"Cells on air with satisfaction below {SATISFIED_RATIO}",
    "slicing_last_step_timestamp_s": "Unix time of the last iteration that made a step",
    "slicing_last_checkpoint_timestamp_s": "Unix time of the last checkpoint, else of the start",
}
PER_CELL_ALONE = {
    "slicing_phase": "Who divides the carrier: "
    + ", ".join(f"{p:d} {p.name.lower()}" for p in Phase),
    "slicing_source_distance": "Distance between the cell and the source it learned from",
}
PER_SLA = {
    "slicing_sla_throughput_mbps": "Throughput that the SLA asks for, Mbit/s",
    "slicing_sla_delay_ms": "Delay that the SLA allows, ms",
}
COUNTERS = {
    "slicing_env_steps": "Network steps made",
    "slicing_updates": "Gradient updates made",
    "slicing_iterations": "Training iterations",
    "slicing_stalled_iterations": "Iterations that made no step",
    "slicing_not_finite_values": "Numbers of an iteration that were NaN or infinite",
}
_DURATIONS_S = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]


class Telemetry:
    """What one run tells Ray's metrics and its trackers. To be made after `ray.init`."""

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
        self._gauges = RefreshedGauges(run, _described(), refresh_s)
        self._counters = {
            name: metrics.Counter(name, text, ("run",)) for name, text in COUNTERS.items()
        }
        self._events = metrics.Counter("slicing_events", "What happened", ("run", "cell", "kind"))
        self._durations = metrics.Histogram(
            "slicing_iteration_duration_s", "Time of an iteration, s", _DURATIONS_S, ("run",)
        )
        self._last: Mapping[str, Any] | None = None
        self._show_slas(sla_throughput_mbps, sla_delay_ms)
        for name in ("slicing_last_step_timestamp_s", "slicing_last_checkpoint_timestamp_s"):
            self._gauges.show(name, time.time())

    def publish(self, row: Mapping[str, Any]) -> None:
        """Shows a row of metrics.jsonl."""
        scalars = scalars_of(row)
        finite = {name: value for name, value in scalars.items() if math.isfinite(value)}
        self._count("slicing_not_finite_values", len(scalars) - len(finite))
        self._show_progress(row)
        self._show_fleet(row)
        for cell in self._detailed:
            self._show_cell(cell, row["cells"].get(cell, {}))
        for sink in self._sinks:
            sink.write(finite, row["env_steps"])

    def event(
        self, kind: str, cell: str | None = None, evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Counts an event of events.jsonl; a checkpoint's time and a source's distance show."""
        tags = {"cell": cell or "", "kind": kind if kind in EVENT_KINDS else OTHER}
        self._events.inc(1, {"run": self._run, **tags})
        if kind == EventKind.CHECKPOINT_WRITTEN:
            self._gauges.show("slicing_last_checkpoint_timestamp_s", time.time())
        if kind == EventKind.NOT_FINITE:
            self._count("slicing_not_finite_values", 1)
        distance = (evidence or {}).get("distance")
        if cell is not None and isinstance(distance, int | float):
            self._gauges.show("slicing_source_distance", float(distance), {"cell": cell})

    def close(self) -> None:
        """The run is over: its gauges leave the dashboards, its trackers are flushed."""
        self._gauges.close()
        for sink in self._sinks:
            sink.close()

    def _show_slas(
        self,
        sla_throughput_mbps: Float[np.ndarray, "cell slice"],
        sla_delay_ms: Float[np.ndarray, "cell slice"],
    ) -> None:
        slas = zip(
            self._detailed, sla_throughput_mbps.tolist(), sla_delay_ms.tolist(), strict=False
        )
        for cell, throughputs_mbps, delays_ms in slas:
            self._show_slices("slicing_sla_throughput_mbps", cell, throughputs_mbps)
            self._show_slices("slicing_sla_delay_ms", cell, delays_ms)

    def _show_progress(self, row: Mapping[str, Any]) -> None:
        """A session's first row may stand for steps of sessions before: it sets no speed."""
        last, self._last = self._last, row
        self._count("slicing_iterations", 1)
        self._gauges.show("slicing_reward_mean", row["reward_mean"])
        if "evaluation_reward_mean" in row:
            self._gauges.show("slicing_evaluation_reward_mean", row["evaluation_reward_mean"])
        for policy, level in row["references"].items():
            self._gauges.show("slicing_reference_reward", level, {"policy": policy})
        if last is not None:
            self._show_advance(
                *(row[key] - last[key] for key in ("env_steps", "updates", "time_s"))
            )

    def _show_advance(self, env_steps: int, updates: int, seconds: float) -> None:
        self._count("slicing_env_steps", env_steps)
        self._count("slicing_updates", updates)
        self._count("slicing_stalled_iterations", 0 if env_steps else 1)
        if env_steps:
            self._gauges.show("slicing_last_step_timestamp_s", time.time())
        if seconds > 0:
            self._durations.observe(seconds, {"run": self._run})
            self._gauges.show("slicing_env_steps_per_s", env_steps / seconds)
            self._gauges.show("slicing_updates_per_s", updates / seconds)

    def _show_fleet(self, row: Mapping[str, Any]) -> None:
        phases = [cell.get("phase") for cell in row["cells"].values()]
        for phase in PHASES:
            self._gauges.show("slicing_cells", float(phases.count(phase)), {"phase": phase})
        satisfied = [c["satisfaction"] for c in row["cells"].values() if "satisfaction" in c]
        if satisfied:
            below = sum(ratio < SATISFIED_RATIO for ratio in satisfied)
            self._gauges.show("slicing_satisfaction_mean_ratio", float(np.mean(satisfied)))
            self._gauges.show("slicing_satisfaction_min_ratio", float(np.min(satisfied)))
            self._gauges.show("slicing_cells_below_sla", float(below))

    def _show_cell(self, cell: str, numbers: Mapping[str, Any]) -> None:
        for key, (name, _) in PER_CELL.items():
            self._gauges.show(name, numbers.get(key), {"cell": cell})
        for key, (name, _) in PER_SLICE.items():
            self._show_slices(name, cell, numbers.get(key))
        phase = numbers.get("phase")
        code = float(PHASES.index(phase)) if phase in PHASES else None
        self._gauges.show("slicing_phase", code, {"cell": cell})

    def _show_slices(self, name: str, cell: str, values: Sequence[float] | None) -> None:
        known = [None] * len(self._slices) if values is None else values
        for slice_name, value in zip(self._slices, known, strict=True):
            self._gauges.show(name, value, {"cell": cell, "slice": slice_name})

    def _count(self, name: str, amount: int) -> None:
        """Ray's counters take no zero."""
        if amount > 0:
            self._counters[name].inc(amount, {"run": self._run})


def _described() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every gauge's description and tags."""
    per_cell = PER_CELL_ALONE | dict(PER_CELL.values())
    per_slice = PER_SLA | dict(PER_SLICE.values())
    return (
        {name: (text, ()) for name, text in PER_RUN.items()}
        | {name: (text, ("cell",)) for name, text in per_cell.items()}
        | {name: (text, ("cell", "slice")) for name, text in per_slice.items()}
        | {"slicing_reference_reward": ("Mean reward of a known policy", ("policy",))}
        | {"slicing_cells": ("Cells in a phase", ("phase",))}
    )
