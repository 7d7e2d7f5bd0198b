"""`slicing-rllib export-kpis`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def export_kpis(
    run: Run,
    out: Annotated[
        Path, typer.Option(help="File to write: its name ends in .parquet, .csv or .csv.gz.")
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            help="Policy whose final evaluation is played again and exported step by step, such as "
            "drl or traffic_aware. Default: KPIs while the run learned, a mean per iteration."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="FIRST:LAST", help="Steps to export, both included. Default: all."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Evaluation seed, counted from 0; used with --policy.")
    ] = 0,
    kpis: Annotated[
        str | None, typer.Option(help="Names of KPIs, separated by commas. Default: all.")
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(help="Cells, separated by commas, by our or the operator's name."),
    ] = None,
    json: Json = False,
) -> None:
    """Writes KPIs of a run as a tidy table: step, cell, cell_id, slice, kpi, value, unit.

    Examples:

      slicing-rllib export-kpis runs/seed7 --out kpis.parquet

      slicing-rllib export-kpis runs/seed7 --policy drl --window 100:400 --out steps.csv

      slicing-rllib export-kpis runs/seed7 --kpis delay_ms --cells cell_3,MUC001_1 --out c.csv
    """
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.kpi_export import export
    from slicing_rllib.service.runs.foreign_run import explain_foreign_run
    from slicing_rllib.service.runs.run_directory import RunDirectory

    export.check_suffix(out)
    opened, steps = RunDirectory.open(run), export.parse_window(window)
    if policy is None:
        with explain_foreign_run(str(run)):
            table = export.export_training(opened, steps)
    else:
        table = export.export_replay(opened, policy, seed, steps)
    table = export.select(table, _split(kpis), _split(cells))
    export.write_table(table, out)
    found = {
        "file": str(out),
        "rows": len(table),
        "steps": len(set(table["step"])),
        "cells": len(set(table["cell"])),
        "kpis": sorted(set(table["kpi"])),
    }
    if json:
        print_json(found)
    else:
        stdout.print(
            f"{out}: {len(table):,} rows, {found['steps']:,} steps, {found['cells']} cells",
            soft_wrap=True,
        )


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",")]
