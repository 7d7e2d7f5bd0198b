"""`slicing-rllib scenario from-sites`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slicing_rllib.service.commands.options import Json

if TYPE_CHECKING:
    from slicing_rllib.radio import Scenario

app = typer.Typer(no_args_is_help=True, help="Makes scenarios from an operator's data.")

SHOWN_CELLS = 12


@app.callback()
def _root() -> None:
    """Keeps `from-sites` a subcommand although it is the only one."""


@app.command("from-sites")
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
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.service.site_tables.reading import read_sectors
    from slicing_rllib.service.site_tables.scenario_yaml import format_config, make_config
    from slicing_rllib.service.site_tables.sites import make_sites
    from slicing_rllib.service.traffic_files.settings import make_mask_settings

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
        "picture": str(_draw(scenario, path.with_suffix(".png"))),
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
    from slicing_rllib.service.config.loading import BUILT_IN

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
    from slicing_rllib.service.errors import RunError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot write the config ({error.strerror})") from error


def _draw(scenario: "Scenario", path: Path) -> Path:
    from slicing_rllib.evaluation.site_figures import draw_sites

    draw_sites(scenario.sites, scenario.area).savefig(path, dpi=150)
    return path


def _show(found: dict[str, Any]) -> None:
    from slicing_rllib.service.console import out

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
