"""`traffic check` prints how an operator's traffic file is read; `scenario from-sites` writes the
config of a network from a table of its sites.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from slicing_rllib.cli.console import (
    Json,
    explain_unwritable,
    make_table,
    print_result,
    save_picture,
    show,
)
from slicing_rllib.storage import make_printable, write_durably
from slicing_rllib.storage.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from slicing_rllib.inputs.traces import Trace, TracedNetwork
    from slicing_rllib.radio import TraceMask
    from slicing_rllib.radio.traffic import PlayedTrace

SHOWN_NAMES = 8
"""Columns that are left out are listed up to this number."""
SHOWN_COLUMNS = 3
"""Columns of a slice are listed up to this number."""
SHOWN_CELLS = 12
MAST_DEFAULTS = ("height_m", "tilt_deg", "power_dbm")
"""What is assumed of a sector whose row does not say."""

traffic_app = typer.Typer(no_args_is_help=True, help="Checks files of measured traffic.")
scenario_app = typer.Typer(no_args_is_help=True, help="Makes scenarios from an operator's data.")


@traffic_app.callback()
@scenario_app.callback()
def _root() -> None:
    """Keeps the only command of a group a subcommand."""


@traffic_app.command()
def check(
    file: Annotated[
        Path, Argument(metavar="FILE", help="A CSV or Parquet file of measured traffic.")
    ],
    config: Annotated[
        str,
        Option(help="Config of the network that the traffic is for: a YAML file, paper or quick."),
    ] = "paper",
    settings: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="KEY=VALUE",
            help="How to read the file: a setting of scenario.mask, such as unit=percent or "
            "columns.slice_1=voice. May be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            help="YAML file to write the settings to, for `evaluate --traffic` and `scenario "
            "from-sites --traffic`. An existing one is replaced."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Prints what was understood of a traffic file, and draws it into FILE.png.

    Recognised are separator, decimal comma, byte-order mark and the usual forms of times. The
    settings at the end can be pasted into a config. The exit code is 2, with one line that says
    where and why, if the file cannot be used.

    Examples:

      slicing-rllib traffic check week.csv --config mine.yaml

      slicing-rllib traffic check week.csv --set unit=mbps --set columns.slice_1=voice
        --set timezone=Europe/Berlin --set gaps=linear --set speed=600 --out traffic.yaml
    """
    import numpy as np

    from slicing_rllib.evaluation.other_figures import draw_traffic
    from slicing_rllib.runs.config_loading import format_mask_yaml, load_config, make_trace_mask

    loaded = load_config(config)
    target = loaded.scenario.traced_network
    mask = make_trace_mask(file, loaded.scenario.mask, settings or [])
    try:
        played = mask.bind(target, 0)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    trace = played.trace
    profile = _compute_hourly_profile(trace)
    found = _describe_traffic(mask, played, target, loaded.total_steps, profile)
    found["picture"] = str(file.with_name(f"{file.name}.png"))
    at, label = np.arange(len(trace.shares), dtype=float), "row of the file"
    if trace.start_s is not None and trace.row_s:
        at, label = at * trace.row_s / 86_400, f"days after {trace.describe_time(0)}"
    figure = draw_traffic(target.slices, trace.shares, at, label, profile)
    save_picture(figure, Path(found["picture"]))
    if out is not None:
        heading = make_printable(f"# Made by `slicing-rllib traffic check` from {file.name}.")
        with explain_unwritable(out, "the settings"):
            write_durably(out, f"{heading}\n{format_mask_yaml(mask, out.parent)}\n".encode())
    print_result(
        found,
        json,
        *_format_traffic(found),
        make_table(
            "share of UEs that are active",
            ("slice", "in the file", "mean", "lowest", "highest", "busy hour"),
            (
                (
                    show(row["slice"]),
                    show(_list_some(row["columns"], SHOWN_COLUMNS)),
                    *(f"{row[key]:.3f}" for key in ("mean", "lowest", "highest")),
                    "" if row["busy_hour"] is None else f"{row['busy_hour']:02}:00",
                )
                for row in found["slices"]
            ),
            folded=("in the file",),
        ),
        format_mask_yaml(mask),
        *([] if out is None else [f"settings: {out}"]),
        f"picture: {found['picture']}",
    )


def _describe_traffic(
    mask: "TraceMask",
    played: "PlayedTrace",
    target: "TracedNetwork",
    run_steps: int,
    profile: "Float[np.ndarray, 'hour slice'] | None",
) -> dict[str, Any]:
    """What the file says about the network's slices, as plain values.

    `run_steps` is the number of steps that a run will play; `profile` is that by local hour.
    """
    import numpy as np

    trace = played.trace
    file_steps = len(trace.shares) / float(played.rows_per_step)
    slices = [
        {
            "slice": name,
            "columns": list(dict.fromkeys(row[index] for row in trace.source)),
            "mean": float(trace.shares[:, :, index].mean()),
            "lowest": float(trace.shares[:, :, index].min()),
            "highest": float(trace.shares[:, :, index].max()),
            "busy_hour": None if profile is None else int(np.nanargmax(profile[:, index])),
        }
        for index, name in enumerate(target.slices)
    ]
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
        "slices": slices,
        "busy_hour": None if profile is None else int(np.nanargmax(profile.mean(axis=1))),
    }


def _compute_hourly_profile(trace: "Trace") -> "Float[np.ndarray, 'hour slice'] | None":
    """Mean share of active UEs by local hour, NaN for hours without a row; None without times."""
    import pandas as pd

    if trace.start_s is None:
        return None
    hours = pd.Series([trace.find_hour(row) for row in range(len(trace.shares))])
    means = pd.DataFrame(trace.shares.mean(axis=1)).groupby(hours).mean()
    return means.reindex(range(24)).to_numpy()


def _format_traffic(found: dict[str, Any]) -> list[str]:
    """The findings in sentences, without those about single slices."""
    decimal = "comma" if found["decimal"] == "," else "point"
    scale = f" x {found['scale']:g}" if found["scale"] != 1 else ""
    if found["time_column"] is None:
        times = "none, so that rows follow each other step by step"
    else:
        times = (
            f"{found['from']} to {found['to']}, {found['timezone']} (column "
            f"{found['time_column']})"
            + (f", every {_format_duration(found['row_s'])}" if found["row_s"] else "")
        )
    share = found["share_of_file_in_a_run"]
    gaps = (
        f"{found['missing_rows']:,} missing rows and {found['missing_values']:,} missing values, "
        f"filled ({found['gaps']})"
    )
    lines = [
        f"{found['file']}: {found['rows']:,} rows, {found['form']}",
        f"format: separator {found['separator']}, decimal {decimal}",
        f"values: {found['unit']}{scale}",
        f"times: {times}",
        f"played: {found['steps_per_row']:g} steps per row, {found['steps']:,.0f} steps in all; "
        f"the run's steps play {share:.0%} of it"
        + ("" if share == 1 else " (speed: N plays it N times faster)"),
        f"gaps: {gaps if found['missing_rows'] or found['missing_values'] else 'none'}",
    ]
    if found["summed_values"]:
        lines.append(f"duplicates: {found['summed_values']:,} values added to another one")
    if found["ignored"]:
        lines.append(f"left out: {_list_some(found['ignored'], SHOWN_NAMES)}")
    return lines


def _format_duration(seconds: float) -> str:
    """The duration in its largest convenient unit."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _list_some(names: Sequence[str], n_shown: int) -> str:
    more = f" and {len(names) - n_shown:,} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more


def _read_columns(settings: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, _, name = key.partition(".")
        if not equals or section != "columns" or not name:
            raise ConfigError(f"--set {setting}: expected columns.NAME=TEXT")
        columns[name] = text
    return columns


@scenario_app.command("from-sites")
def from_sites(
    file: Annotated[
        Path,
        Argument(
            metavar="FILE",
            help="A CSV file with a row per sector, or a GeoJSON file with a point per sector.",
        ),
    ],
    out: Annotated[
        Path | None, Option(help="YAML file to write. Default: FILE's name with .yaml.")
    ] = None,
    like: Annotated[
        str, Option(help="Built-in scenario whose slices, SLA groups and radio settings apply.")
    ] = "paper",
    sla_group: Annotated[
        str | None,
        Option(help="SLA group of sectors without one. Default: the first of the scenario."),
    ] = None,
    outliers: Annotated[
        Literal["refuse", "drop", "keep"],
        Option(help="What to do with sites far away from all others."),
    ] = "refuse",
    traffic: Annotated[
        Path | None,
        Option(
            help="Traffic of the network: a YAML file that `traffic check --out` wrote, or a "
            "traffic file that needs no settings. Default: the scenario's synthetic traffic."
        ),
    ] = None,
    learns_like: Annotated[
        Literal["recommended", "paper", "quick"],
        Option(help="Built-in config whose settings of learning and evaluation apply."),
    ] = "recommended",
    settings: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="columns.NAME=TEXT",
            help="What the file calls one of the columns below, such as columns.tilt_deg=VET; an "
            "empty text says that it has none. May be repeated.",
        ),
    ] = None,
    carrier: Annotated[
        str | None,
        Option(
            metavar="COLUMN=VALUE",
            help="Rows to take where sectors have several carriers, such as earfcn=1300.",
        ),
    ] = None,
    force: Annotated[bool, Option("--force", help="Replaces an existing YAML file.")] = False,
    json: Json = False,
) -> None:
    """Writes the config of a network from a table of its sites, and a map.

    Columns: site, cell, lat and lon (or x_m and y_m), azimuth_deg (clockwise from north), height_m,
    tilt_deg, power_dbm, sla_group. Common other spellings are understood; only the position is
    required. Cells keep the operator's names beside cell_1, cell_2 ...

    Examples:

      slicing-rllib scenario from-sites sites.csv --out munich.yaml

      slicing-rllib scenario from-sites sites.geojson --sla-group B --outliers drop

      slicing-rllib scenario from-sites sites.csv --carrier band=800 --set columns.tilt_deg=VET

      slicing-rllib scenario from-sites sites.csv --traffic traffic.yaml --learns-like quick
    """
    import re

    import yaml
    from pydantic import TypeAdapter

    from slicing_rllib.evaluation.other_figures import draw_sites
    from slicing_rllib.inputs.site_files import read_sites
    from slicing_rllib.radio import MastSpec, SiteSpec, make_scenario
    from slicing_rllib.runs.config_loading import load_config, make_mask_settings
    from slicing_rllib.storage.safe_yaml import Document
    from slicing_rllib.storage.yaml_validation import validate_document

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
    sites = read_sites(
        file,
        defaults={name: getattr(MastSpec(), name) for name in MAST_DEFAULTS},
        sla_group=sla_group or groups[0],
        known_groups=groups,
        outliers=outliers,
        columns=_read_columns(settings or []),
        carrier=carrier,
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "network"
    mask = None if traffic is None else make_mask_settings(traffic, base.mask, path.parent)
    specs = [
        validate_document(SiteSpec, Document(site, "", f"{file}, site {site['name']}"))
        for site in sites.sites
    ]
    config = {
        "name": name,
        "base": learns_like,
        # The network has other cells than those that join in the base.
        "env": {"deployments": []},
        "scenario": {
            "like": like,
            "name": name,
            **({} if mask is None else {"mask": mask}),
            "layout": {
                "kind": "sites",
                "sites": TypeAdapter(list[SiteSpec]).dump_python(
                    specs, mode="json", exclude_defaults=True, exclude_none=True
                ),
            },
        },
    }
    comments = [
        f"Made by `slicing-rllib scenario from-sites` from {file.name}.",
        "x_m points east and y_m north; azimuths count anticlockwise from east.",
    ]
    if sites.centre is not None:
        comments.append("The origin is at {:.6f} N, {:.6f} E.".format(*sites.centre))
    comments += [f"Note: {notice}." for notice in sites.notices]
    lines = "".join(f"# {make_printable(comment)}\n" for comment in comments)
    text = yaml.safe_dump(
        config, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    with explain_unwritable(path, "the config"):
        write_durably(path, (lines + text).encode())
    scenario = load_config(str(path)).scenario
    picture = path.with_suffix(".png")
    save_picture(draw_sites(scenario.sites, scenario.area), picture)
    found = {
        "file": str(file),
        "config": str(path),
        "picture": str(picture),
        "sites": len(scenario.sites),
        "cells": dict(zip(scenario.cells, scenario.cell_ids, strict=True)),
        "columns": sites.understood,
        "left_out": sites.left_out,
        "notices": sites.notices,
        "area_km2": scenario.area.size_m2 / 1e6,
    }
    cells = [f"{cell} = {name}" for cell, name in found["cells"].items()]
    print_result(
        found,
        json,
        f"{file}: {found['sites']} sites, {len(cells)} cells, {found['area_km2']:.3g} km²",
        f"columns: {', '.join(f'{name} = {text}' for name, text in sites.understood.items())}",
        *([f"left out: {', '.join(sites.left_out)}"] if sites.left_out else []),
        *(f"note: {notice}" for notice in sites.notices),
        f"cells: {_list_some(cells, SHOWN_CELLS)}",
        f"config: {path}",
        f"map: {picture}",
    )
