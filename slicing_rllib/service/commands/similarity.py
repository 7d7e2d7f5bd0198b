"""`slicing-rllib similarity`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def similarity(
    run: Run,
    measure: Annotated[
        str | None,
        typer.Option(help="Name of a measure, or `all`. Default: the run's.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the VAE.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures. Default: the run's figures.")
    ] = None,
    json: Json = False,
) -> None:
    """Distance of every cell from every other, as a table and a heat map.

    Cells are compared by what they experienced under the default action. AUC is the chance that
    two cells of one SLA group are nearer than two of different groups.

    Examples:

      slicing-rllib similarity runs/seed7

      slicing-rllib similarity runs/seed7 --measure kl_paper --json

      slicing-rllib similarity runs/seed7 --measure all
    """
    from slicing_rllib.service.console import distances_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.service.runs.cell_similarity import compare_cells, draw_comparison
    from slicing_rllib.service.runs.run_directory import RunDirectory
    from slicing_rllib.transfer import MEASURES

    opened = RunDirectory.open(run)
    default = opened.config().transfer.measure
    wanted = measure or (default if default in MEASURES else "mean_shift")
    if wanted != "all" and wanted not in MEASURES:
        known = ", ".join((*MEASURES, "all"))
        raise ConfigError(f"--measure: expected one of {known}, got {wanted!r}")
    found = []
    for name in MEASURES if wanted == "all" else (wanted,):
        compared = compare_cells(opened, name, seed)
        files = draw_comparison(opened, compared, out)
        found.append(
            {
                "measure": name,
                "cells": list(compared.distances.names),
                "sla_groups": list(compared.groups),
                "distances": compared.distances.mean.tolist(),
                "nearest": {c: compared.nearest(c).source for c in compared.distances.names},
                "auc": compared.auc,
                "figures": [str(path) for path in files],
            }
        )
        if not json:
            stdout.print(distances_table(found[-1]))
            for path in files:
                stdout.print(str(path), soft_wrap=True)
    if json:
        print_json(found[0] if len(found) == 1 else {"measures": found})
