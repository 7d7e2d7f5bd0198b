"""`slicing-rllib traffic check`

`slicing-rllib scenario from-sites`

The config of a network with given sites, as YAML.

What was understood of a traffic file, as plain values and as lines for people.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
import yaml
from jaxtyping import Float
from pydantic import TypeAdapter

from slicing_rllib.cli.console import Json
from slicing_rllib.inputs.site_grouping import Sites
from slicing_rllib.inputs.traffic_files import Trace
from slicing_rllib.radio import MaskTarget, SiteSpec, TraceMask
from slicing_rllib.radio.trace_mask import PlayedTrace

if TYPE_CHECKING:
    from slicing_rllib.radio import Scenario


traffic_app = typer.Typer(no_args_is_help=True, help="Checks files of measured traffic.")


@traffic_app.callback()
def _traffic_root() -> None:
    """Keeps `check` a subcommand although it is the only one."""


@traffic_app.command()
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file of measured traffic.")
    ],
    config: Annotated[
        str,
        typer.Option(
            help="Config of the network that the traffic is for: a YAML file, paper or quick."
        ),
    ] = "paper",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="How to read the file: a setting of scenario.mask, such as unit=percent or "
            "columns.slice_1=voice. May be repeated.",
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Picture to write. Default: FILE with .png at its end.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="YAML file to write the settings to, for `evaluate --traffic` and `scenario "
            "from-sites --traffic`. An existing one is replaced."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Prints what was understood of a traffic file, and draws it.

    Recognised are separator, decimal comma, byte-order mark and the usual forms of times. The
    settings at the end can be pasted into a config. The exit code is 2, with one line that says
    where and why, if the file cannot be used.

    Examples:

      slicing-rllib traffic check week.csv --config mine.yaml

      slicing-rllib traffic check week.csv --set unit=mbps --set columns.slice_1=voice
        --set timezone=Europe/Berlin --set gaps=linear --set speed=600 --out traffic.yaml
    """
    from slicing_rllib.cli.console import out as stdout
    from slicing_rllib.cli.console import print_json
    from slicing_rllib.runs.config_loading import format_mask_yaml, load_config, make_trace_mask
    from slicing_rllib.storage.errors import ConfigError

    loaded = load_config(config)
    target = loaded.scenario.mask_target
    mask = make_trace_mask(file, loaded.scenario.mask, settings or [])
    try:
        found = describe_traffic_file(mask, target, loaded.total_steps)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    found["picture"] = str(
        _draw_traffic(mask, target, picture or file.with_name(f"{file.name}.png"))
    )
    if out is not None:
        _write_settings(out, format_mask_yaml(mask, out.parent), file.name)
    if json:
        print_json(found)
        return
    for line in format_lines(found):
        stdout.print(line, highlight=False, markup=False, soft_wrap=True)
    stdout.print(_make_slices_table(found))
    stdout.print(format_mask_yaml(mask), highlight=False, markup=False, soft_wrap=True)
    if out is not None:
        stdout.print(f"settings: {out}", highlight=False, markup=False, soft_wrap=True)
    stdout.print(f"picture: {found['picture']}", highlight=False, markup=False, soft_wrap=True)


def _write_settings(path: Path, text: str, source: str) -> None:
    from slicing_rllib.storage.errors import RunError

    heading = f"# Made by `slicing-rllib traffic check` from {source}."
    try:
        path.write_text(f"{heading}\n{text}\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot write the settings ({error.strerror})") from error


def _make_slices_table(found: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="share of UEs that are active")
    table.add_column("slice", no_wrap=True)
    table.add_column("in the file", overflow="fold")
    for heading in ("mean", "lowest", "highest", "busy hour"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found["slices"]:
        columns = ", ".join(row["columns"][:3]) + (" ..." if len(row["columns"]) > 3 else "")
        hour = "" if row["busy_hour"] is None else f"{row['busy_hour']:02}:00"
        levels = (f"{row[key]:.3f}" for key in ("mean", "lowest", "highest"))
        table.add_row(escape(row["slice"]), escape(columns), *levels, hour)
    return table


def _draw_traffic(mask: "TraceMask", target: "MaskTarget", path: Path) -> Path:
    """Writes the picture of the file."""
    import numpy as np

    from slicing_rllib.evaluation.other_figures import draw_traffic
    from slicing_rllib.storage.errors import RunError

    trace = mask.read(target)
    rows = np.arange(len(trace.shares), dtype=float)
    if trace.start_s is not None and trace.row_s:
        at, label = rows * trace.row_s / 86_400, f"days after {trace.describe_time(0)}"
    else:
        at, label = rows, "row of the file"
    names = [spec.name for spec in target.slices]
    figure = draw_traffic(names, trace.shares, at, label, compute_hourly_profile(trace))
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot write the picture ({error})") from error
    return path


scenario_app = typer.Typer(no_args_is_help=True, help="Makes scenarios from an operator's data.")

SHOWN_CELLS = 12


@scenario_app.callback()
def _scenario_root() -> None:
    """Keeps `from-sites` a subcommand although it is the only one."""


@scenario_app.command("from-sites")
def from_sites(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A CSV file with a row per sector, or a GeoJSON file with a point per sector.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="YAML file to write. Default: FILE's name with .yaml.")
    ] = None,
    like: Annotated[
        str,
        typer.Option(help="Built-in scenario whose slices, SLA groups and radio settings apply."),
    ] = "paper",
    sla_group: Annotated[
        str | None,
        typer.Option(help="SLA group of sectors without one. Default: the first of the scenario."),
    ] = None,
    outliers: Annotated[
        Literal["refuse", "drop", "keep"],
        typer.Option(help="What to do with sites far away from all others."),
    ] = "refuse",
    traffic: Annotated[
        Path | None,
        typer.Option(
            help="Traffic of the network: a YAML file that `traffic check --out` wrote, or a "
            "traffic file that needs no settings. Default: the scenario's synthetic traffic."
        ),
    ] = None,
    learns_like: Annotated[
        Literal["paper", "quick"],
        typer.Option(help="Built-in config whose settings of learning and evaluation apply."),
    ] = "paper",
    margin_m: Annotated[
        float,
        typer.Option(min=1.0, help="Metres from the outermost sites to the edge of the area."),
    ] = 250.0,
    force: Annotated[bool, typer.Option("--force", help="Replaces an existing YAML file.")] = False,
    json: Json = False,
) -> None:
    """Writes the config of a network from a table of its sites, and a map.

    Columns: site, cell, lat and lon (or x_m and y_m), azimuth_deg (clockwise from north), height_m,
    tilt_deg, power_dbm, sla_group. Common other spellings are understood; only the position is
    required. Cells keep the operator's names beside cell_1, cell_2 ...

    Examples:

      slicing-rllib scenario from-sites sites.csv --out munich.yaml

      slicing-rllib scenario from-sites sites.geojson --sla-group B --outliers drop

      slicing-rllib scenario from-sites sites.csv --traffic traffic.yaml --learns-like quick
    """
    from slicing_rllib.cli.console import print_json
    from slicing_rllib.inputs.site_grouping import make_sites
    from slicing_rllib.inputs.site_tables import read_sectors
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.runs.config_loading import load_config, make_mask_settings
    from slicing_rllib.storage.errors import ConfigError

    path = out or file.with_suffix(".yaml")
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; --force replaces it, --out names another file")
    try:
        base = make_scenario(like)
    except ValueError as error:
        raise ConfigError(f"--like: {error}") from error
    groups = [group.name for group in base.sla_groups]
    if sla_group is not None and sla_group not in groups:
        raise ConfigError(f"--sla-group: expected one of {', '.join(groups)}, got {sla_group!r}")
    table = read_sectors(file)
    sites = make_sites(
        table, sla_group=sla_group or groups[0], known_groups=groups, outliers=outliers
    )
    mask = None if traffic is None else make_mask_settings(traffic, base.mask, path.parent)
    config = make_config(
        _make_name(path), like, sites, margin_m, mask=mask, settings=_copy_settings(learns_like)
    )
    _write(path, format_config(config, file.name, sites))
    scenario = load_config(str(path)).scenario
    found = {
        "file": str(file),
        "config": str(path),
        "picture": str(_draw_sites(scenario, path.with_suffix(".png"))),
        "sites": len(scenario.sites),
        "cells": dict(zip(scenario.cells, scenario.cell_ids, strict=True)),
        "columns": table.understood,
        "left_out": table.left_out,
        "notices": list(sites.notices),
        "area_km2": scenario.area.size_m2 / 1e6,
    }
    print_json(found) if json else _show(found)


def _copy_settings(built_in: str) -> dict[str, Any]:
    """Sections of a built-in config that fit any network, so without cells that join in a run."""
    from slicing_rllib.runs.config_loading import BUILT_IN

    return {
        key: {name: value for name, value in section.items() if name != "deployments"}
        for key, section in BUILT_IN[built_in].items()
        if key not in ("name", "scenario")
    }


def _make_name(path: Path) -> str:
    """A name for the run, of the characters that names may have."""
    import re

    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "network"


def _write(path: Path, text: str) -> None:
    from slicing_rllib.storage.errors import RunError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot write the config ({error.strerror})") from error


def _draw_sites(scenario: "Scenario", path: Path) -> Path:
    from slicing_rllib.evaluation.other_figures import draw_sites

    draw_sites(scenario.sites, scenario.area).savefig(path, dpi=150)
    return path


def _show(found: dict[str, Any]) -> None:
    from slicing_rllib.cli.console import out

    def show(text: str) -> None:
        out.print(text, highlight=False, markup=False, soft_wrap=True)

    cells = list(found["cells"].items())
    show(
        f"{found['file']}: {found['sites']} sites, {len(cells)} cells, {found['area_km2']:.3g} km²"
    )
    show("columns: " + ", ".join(f"{name} = {text}" for name, text in found["columns"].items()))
    if found["left_out"]:
        show(f"left out: {', '.join(found['left_out'])}")
    for notice in found["notices"]:
        show(f"note: {notice}")
    shown = ", ".join(f"{cell} = {name}" for cell, name in cells[:SHOWN_CELLS])
    more = f" and {len(cells) - SHOWN_CELLS} more" if len(cells) > SHOWN_CELLS else ""
    show(f"cells: {shown}{more}")
    show(f"config: {found['config']}")
    show(f"map: {found['picture']}")


def make_config(
    name: str,
    like: str,
    sites: Sites,
    margin_m: float,
    *,
    mask: Mapping[str, Any] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The content of a config: the scenario `like` with other sites and, if given, other traffic.

    `margin_m` is the distance between the outermost sites and the edge of the area, and `settings`
    are the other sections of the config, such as `learning`.
    """
    adapter = TypeAdapter(SiteSpec)
    plain = [
        adapter.dump_python(site, mode="json", exclude_defaults=True, exclude_none=True)
        for site in sites.sites
    ]
    layout = {"kind": "sites", "margin_m": margin_m, "sites": plain}
    traffic = {} if mask is None else {"mask": dict(mask)}
    scenario = {"like": like, "name": name, **traffic, "layout": layout}
    return {"name": name, **(settings or {}), "scenario": scenario}


def format_config(config: dict[str, Any], source: str, sites: Sites) -> str:
    """The YAML, with comments that say where it comes from and where its origin lies."""
    lines = [f"# Made by `slicing-rllib scenario from-sites` from {source}."]
    lines.append("# x_m points east and y_m north; azimuths count anticlockwise from east.")
    if sites.centre is not None:
        lines.append(f"# The origin is at {sites.centre[0]:.6f} N, {sites.centre[1]:.6f} E.")
    lines += [f"# Note: {notice}." for notice in sites.notices]
    text = yaml.safe_dump(
        config, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return "\n".join(line.replace("\n", " ") for line in lines) + f"\n{text}"


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
