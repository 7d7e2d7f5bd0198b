"""What was understood of a traffic file, as plain values and as lines for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import MaskTarget, TraceMask
from slicing_rllib.radio.traces.mask import PlayedTrace
from slicing_rllib.radio.traces.trace import Trace

SHOWN_NAMES = 8
"""Columns that are left out are listed up to this number."""


def describe_traffic_file(mask: TraceMask, target: MaskTarget, run_steps: int) -> dict[str, Any]:
    """What the file says about the network's slices.

    `run_steps` is the number of steps that a run will play. Raises: ValueError with file, line and
    column of what cannot be used.
    """
    played = mask.bind(target, 0)
    trace = played.trace
    file_steps = len(trace.shares) / float(played.rows_per_step)
    return {
        "file": mask.path,
        "form": trace.form,
        "separator": trace.separator_name,
        "decimal": trace.decimal,
        "unit": mask.unit,
        "scale": mask.scale,
        "rows": len(trace.shares),
        "row_s": trace.row_s,
        "from": trace.describe_time(0),
        "to": trace.describe_time(len(trace.shares) - 1),
        "timezone": mask.timezone if trace.time_column else None,
        "time_column": trace.time_column,
        "missing_rows": trace.missing_rows,
        "missing_values": trace.missing_values,
        "gaps": mask.gaps,
        "summed_values": trace.summed_values,
        "ignored": list(trace.ignored),
        "steps_per_row": 1 / float(played.rows_per_step),
        "steps": file_steps,
        "share_of_file_in_a_run": min(1.0, run_steps / file_steps),
        "slices": [_describe_slice(trace, i, target) for i in range(len(target.slices))],
        "busy_hour": find_busy_hour(played),
    }


def compute_hourly_profile(trace: Trace) -> Float[np.ndarray, "hour slice"] | None:
    """Mean share of active UEs by local hour, NaN for hours without a row; None without times."""
    if trace.start_s is None:
        return None
    hours = np.array([trace.find_hour(row) for row in range(len(trace.shares))])
    means = trace.shares.mean(axis=1)
    profile = np.full((24, means.shape[1]), np.nan)
    for hour in np.unique(hours):
        profile[hour] = means[hours == hour].mean(axis=0)
    return profile


def find_busy_hour(played: PlayedTrace) -> int | None:
    """The local hour with the highest mean share of active UEs over all slices and cells."""
    profile = compute_hourly_profile(played.trace)
    return None if profile is None else int(np.nanargmax(profile.mean(axis=1)))


def format_lines(found: dict[str, Any]) -> list[str]:
    """The findings in sentences, without those about single slices."""
    decimal = "comma" if found["decimal"] == "," else "point"
    lines = [
        f"{found['file']}: {found['rows']:,} rows, {found['form']}",
        f"format: separator {found['separator']}, decimal {decimal}",
        f"values: {found['unit']}" + (f" x {found['scale']:g}" if found["scale"] != 1 else ""),
        _format_times(found),
        _format_play(found),
        _format_gaps(found),
    ]
    if found["summed_values"]:
        lines.append(f"duplicates: {found['summed_values']:,} values added to another one")
    if found["ignored"]:
        lines.append(f"left out: {_format_names(found['ignored'])}")
    return lines


def format_duration(seconds: float) -> str:
    """The duration in its largest convenient unit."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _describe_slice(trace: Trace, index: int, target: MaskTarget) -> dict[str, Any]:
    shares = trace.shares[:, :, index]
    profile = compute_hourly_profile(trace)
    columns = dict.fromkeys(row[index] for row in trace.source)
    return {
        "slice": target.slices[index].name,
        "columns": list(columns),
        "mean": float(shares.mean()),
        "lowest": float(shares.min()),
        "highest": float(shares.max()),
        "busy_hour": None if profile is None else int(np.nanargmax(profile[:, index])),
    }


def _format_times(found: dict[str, Any]) -> str:
    if found["time_column"] is None:
        return "times: none, so that rows follow each other step by step"
    every = f", every {format_duration(found['row_s'])}" if found["row_s"] else ""
    return (
        f"times: {found['from']} to {found['to']}, {found['timezone']} "
        f"(column {found['time_column']}){every}"
    )


def _format_play(found: dict[str, Any]) -> str:
    share = found["share_of_file_in_a_run"]
    return (
        f"played: {found['steps_per_row']:g} steps per row, {found['steps']:,.0f} steps in all; "
        f"the run's steps play {share:.0%} of it"
        + ("" if share == 1 else " (speed: N plays it N times faster)")
    )


def _format_gaps(found: dict[str, Any]) -> str:
    if not found["missing_rows"] and not found["missing_values"]:
        return "gaps: none"
    return (
        f"gaps: {found['missing_rows']:,} missing rows and {found['missing_values']:,} missing "
        f"values, filled ({found['gaps']})"
    )


def _format_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
